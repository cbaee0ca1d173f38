/* Build tool: reads the *.schema files and writes the const tables of apiserver/schema/schema.h as C.
 *   mkschema out.c file.schema...
 * The form of the files is told in apiserver/schema/format.md. It runs at build time only, so a malformed
 * file ends it. */
#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct field {
    char *name, *ref, *description, *list_keys, *merge_key, *default_value, *go_type;
    const char *value, *shape, *list_type;
    int number, inlined[2];
    bool required, keep_zero, by_value, inline_it;
    int patch;
    int line;
};
struct type {
    char *group, *version, *package, *name, *description, *file;
    struct field *fields;
    int count;
    bool kind;
    int line;
};
static struct type *types;
static int type_count;

static void die(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

static void *grow(void *p, size_t size)
{
    p = realloc(p, size);
    if (!p)
        abort();
    return p;
}

static char *copy(const char *s)
{
    char *c = grow(NULL, strlen(s) + 1);
    return strcpy(c, s);
}

static const struct {
    const char *word, *value;
} scalars[] = {
    {"string", "SCHEMA_STRING"},
    {"bool", "SCHEMA_BOOL"},
    {"int32", "SCHEMA_INT32"},
    {"int64", "SCHEMA_INT64"},
    {"double", "SCHEMA_DOUBLE"},
    {"bytes", "SCHEMA_BYTES"},
    {"time", "SCHEMA_TIME"},
    {"microtime", "SCHEMA_MICROTIME"},
    {"duration", "SCHEMA_DURATION"},
    {"quantity", "SCHEMA_QUANTITY"},
    {"intorstring", "SCHEMA_INT_OR_STRING"},
    {"raw", "SCHEMA_RAW"},
    {"any", "SCHEMA_ANY"},
    {"fieldsv1", "SCHEMA_FIELDS_V1"},
    {"jsonschemaorarray", "SCHEMA_PROPS_OR_ARRAY"},
    {"jsonschemaorbool", "SCHEMA_PROPS_OR_BOOL"},
    {"jsonschemaorstrings", "SCHEMA_PROPS_OR_STRINGS"},
};

static void parse_type(struct field *f, char *text)
{
    f->shape = "SCHEMA_ONE";
    if (!strncmp(text, "map<", 4)) {
        f->shape = "SCHEMA_MAP";
        text += 4;
        text[strlen(text) - 1] = '\0';
        if (!strncmp(text, "[]", 2)) {
            f->shape = "SCHEMA_MAP_OF_LISTS";
            text += 2;
        }
    } else if (!strncmp(text, "[]", 2)) {
        f->shape = "SCHEMA_LIST";
        text += 2;
    }
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++) {
        if (!strcmp(text, scalars[i].word)) {
            f->value = scalars[i].value;
            if (!strncmp(text, "jsonschema", 10))
                f->ref = copy("JSONSchemaProps");
            return;
        }
    }
    f->value = "SCHEMA_MESSAGE";
    f->ref = copy(text);
}

static void parse_attribute(struct field *f, char *word, const char *file, int line)
{
    char *eq = strchr(word, '=');
    char *v = eq ? eq + 1 : NULL;
    if (!strcmp(word, "required"))
        f->required = true;
    else if (!strcmp(word, "pointer"))
        f->keep_zero = true;
    else if (!strcmp(word, "value"))
        f->by_value = true;
    else if (!strcmp(word, "inline"))
        f->inline_it = true;
    else if (!strncmp(word, "list=", 5) || !strncmp(word, "map=", 4))
        f->list_type = !strcmp(v, "set")   ? "SCHEMA_LIST_SET"
                       : !strcmp(v, "map") ? "SCHEMA_LIST_MAP"
                       : word[0] == 'm' ? (!strcmp(v, "atomic") ? "SCHEMA_MAP_ATOMIC" : "SCHEMA_LIST_UNSET")
                                        : "SCHEMA_LIST_ATOMIC";
    else if (!strncmp(word, "keys=", 5))
        f->list_keys = copy(v);
    else if (!strncmp(word, "key=", 4))
        f->merge_key = copy(v);
    else if (!strncmp(word, "patch=", 6))
        f->patch =
            (strstr(v, "merge") ? 1 : 0) | (strstr(v, "retainKeys") ? 2 : 0) | (strstr(v, "replace") ? 4 : 0);
    else if (!strncmp(word, "default=", 8))
        f->default_value = copy(v);
    else if (!strncmp(word, "go=", 3))
        f->go_type = copy(v);
    else
        die(file, line, "unknown attribute \"%s\"", word);
}

static void read_file(const char *file)
{
    FILE *in = fopen(file, "r");
    if (!in)
        die(file, 0, "cannot open");
    char *text = NULL, *group = NULL, *version = NULL, *package = NULL;
    size_t cap = 0;
    int line = 0;
    struct type *t = NULL;
    while (getline(&text, &cap, in) > 0) {
        line++;
        text[strcspn(text, "\r\n")] = '\0';
        char *description = strstr(text, " -- ");
        if (description) {
            *description = '\0';
            description += 4;
        }
        bool indented = isspace((unsigned char)text[0]);
        char *save = NULL, *word = strtok_r(text, " \t", &save);
        if (!word || word[0] == '#')
            continue;
        if (!indented) {
            char *name = strtok_r(NULL, " \t", &save);
            if (!name)
                die(file, line, "a word is missing after \"%s\"", word);
            if (!strcmp(word, "group")) {
                group = copy(strcmp(name, "\"\"") ? name : "");
            } else if (!strcmp(word, "version")) {
                version = copy(name);
            } else if (!strcmp(word, "package")) {
                package = copy(name);
            } else if (!strcmp(word, "kind") || !strcmp(word, "type")) {
                if (!group || !version || !package)
                    die(file, line, "group, version and package must come first");
                types = grow(types, sizeof *types * (size_t)(type_count + 1));
                t = &types[type_count++];
                *t = (struct type){.group = group,
                                   .version = version,
                                   .package = package,
                                   .name = copy(name),
                                   .description = description ? copy(description) : NULL,
                                   .file = copy(file),
                                   .kind = word[0] == 'k',
                                   .line = line};
            } else {
                die(file, line, "unknown word \"%s\"", word);
            }
            continue;
        }
        if (!t)
            die(file, line, "a field outside of a type");
        t->fields = grow(t->fields, sizeof *t->fields * (size_t)(t->count + 1));
        struct field *f = &t->fields[t->count++];
        *f = (struct field){.name = copy(word),
                            .line = line,
                            .list_type = "SCHEMA_LIST_UNSET",
                            .description = description ? copy(description) : NULL};
        char *number = strtok_r(NULL, " \t", &save), *type = strtok_r(NULL, " \t", &save);
        if (!type)
            die(file, line, "a field needs a number and a type");
        f->number = atoi(number);
        parse_type(f, type);
        while ((word = strtok_r(NULL, " \t", &save)))
            parse_attribute(f, word, file, line);
    }
    free(text);
    fclose(in);
}

/* "Name" in the type's own group, "group/version.Name" in another; core is "/version.Name". */
static int find(const struct type *from, const char *ref)
{
    char group[128], version[64];
    const char *slash = strchr(ref, '/'), *name = ref;
    snprintf(group, sizeof group, "%s", from->group);
    snprintf(version, sizeof version, "%s", from->version);
    if (slash) {
        const char *dot = strrchr(ref, '.');
        snprintf(group, sizeof group, "%.*s", (int)(slash - ref), ref);
        snprintf(version, sizeof version, "%.*s", (int)(dot - slash - 1), slash + 1);
        name = dot + 1;
    }
    for (int i = 0; i < type_count; i++)
        if (!strcmp(types[i].group, group) && !strcmp(types[i].version, version) &&
            !strcmp(types[i].name, name))
            return i;
    return -1;
}

static int by_gvn(const void *a, const void *b)
{
    const struct type *x = a, *y = b;
    int c = strcmp(x->group, y->group);
    if (!c)
        c = strcmp(x->version, y->version);
    return c ? c : strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct field *)a)->name, ((const struct field *)b)->name);
}

/* Fields of inlined messages become fields of the type itself. */
static void flatten(struct type *t)
{
    for (int i = 0; i < t->count; i++) {
        struct field outer = t->fields[i];
        if (!outer.inline_it)
            continue;
        int inner = find(t, outer.ref);
        if (inner < 0)
            die(t->file, outer.line, "no such type \"%s\"", outer.ref);
        flatten(&types[inner]);
        const struct type *n = &types[inner];
        memmove(&t->fields[i], &t->fields[i + 1], sizeof outer * (size_t)(t->count - i - 1));
        t->count--;
        t->fields = grow(t->fields, sizeof *t->fields * (size_t)(t->count + n->count + 1));
        for (int k = 0; k < n->count; k++) {
            struct field f = n->fields[k];
            if (f.inlined[1])
                die(t->file, outer.line, "inlined too deep");
            f.inlined[1] = f.inlined[0];
            f.inlined[0] = outer.number;
            t->fields[t->count++] = f;
        }
        i--;
    }
}

static void print_string(FILE *out, const char *s)
{
    if (!s) {
        fputs("NULL", out);
        return;
    }
    fputc('"', out);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            fputc('\\', out);
        fputc(*s, out);
    }
    fputc('"', out);
}

static void print_field(FILE *out, const struct type *t, const struct field *f)
{
    int ref = f->ref ? find(t, f->ref) : -1;
    if (f->ref && ref < 0)
        die(t->file, f->line, "no such type \"%s\"", f->ref);
    fputs("    {", out);
    print_string(out, f->name);
    if (ref >= 0)
        fprintf(out, ", &types[%d], ", ref);
    else
        fputs(", NULL, ", out);
    const char *strings[] = {f->description, f->list_keys, f->merge_key, f->default_value, f->go_type};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        print_string(out, strings[i]);
        fputs(", ", out);
    }
    fprintf(out, "%d, {%d, %d}, %s, %s, %s, %d, %d},\n", f->number, f->inlined[0], f->inlined[1], f->value,
            f->shape, f->list_type, f->patch,
            (f->required ? 1 : 0) | (f->keep_zero ? 2 : 0) | (f->by_value ? 4 : 0));
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: mkschema out.c file.schema...\n");
        return 2;
    }
    for (int i = 2; i < argc; i++)
        read_file(argv[i]);
    qsort(types, (size_t)type_count, sizeof *types, by_gvn);
    for (int i = 0; i < type_count; i++)
        flatten(&types[i]);

    FILE *out = fopen(argv[1], "w");
    if (!out)
        die(argv[1], 0, "cannot write");
    fprintf(out,
            "/* Made by mkschema. */\n#include \"apiserver/schema/table.h\"\n\n"
            "static const struct schema_type types[%d];\n\nstatic const struct schema_field fields[] = {\n",
            type_count);
    for (int i = 0; i < type_count; i++) {
        struct type *t = &types[i];
        qsort(t->fields, (size_t)t->count, sizeof *t->fields, by_name);
        for (int k = 0; k < t->count; k++) {
            if (k && !strcmp(t->fields[k - 1].name, t->fields[k].name))
                die(t->file, t->fields[k].line, "field \"%s\" twice", t->fields[k].name);
            print_field(out, t, &t->fields[k]);
        }
        if (t->count > 62)
            die(t->file, t->line, "more than 62 fields: the decoder's bit set is too small");
    }
    fprintf(out, "};\n\nstatic const struct schema_type types[%d] = {\n", type_count);
    int at = 0;
    for (int i = 0; i < type_count; i++) {
        const struct type *t = &types[i];
        if (i && !by_gvn(&types[i - 1], t))
            die(t->file, t->line, "type \"%s\" twice", t->name);
        const char *strings[] = {t->group, t->version, t->package, t->name, t->description};
        fputs("    {", out);
        for (size_t k = 0; k < sizeof strings / sizeof *strings; k++) {
            print_string(out, strings[k]);
            fputs(", ", out);
        }
        bool list = false;
        for (int k = 0; k < t->count; k++)
            if (t->kind && !strcmp(t->fields[k].name, "metadata") && strstr(t->fields[k].ref, "ListMeta") &&
                strcmp(t->name, "Status"))
                list = true;
        fprintf(out, "&fields[%d], %d, %d},\n", at, t->count, (t->kind ? 1 : 0) | (list ? 2 : 0));
        at += t->count;
    }
    fprintf(out,
            "};\n\nconst struct schema_type *const schema_types = types;\nconst size_t schema_types_count = "
            "%d;\n",
            type_count);
    if (fclose(out))
        die(argv[1], 0, "cannot write");
    return 0;
}
