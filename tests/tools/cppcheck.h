/* For cppcheck, which reads no system headers: cJSON's loop. */
#define cJSON_ArrayForEach(element, array)                                                         \
    for (element = (array) ? (array)->child : NULL; element; element = element->next)
