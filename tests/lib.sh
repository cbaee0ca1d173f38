# Sourced by every test script. A script's last line is "N passed, N failed".
#   check "what must be true" COMMAND...        passes when COMMAND succeeds; shows its output otherwise
#   check_output "what" 'REGEX' COMMAND...      passes when COMMAND's output (both streams) matches REGEX
#   eventually SECONDS COMMAND...               repeats COMMAND until it succeeds; false after SECONDS
#   finish                                      prints the sums; the script's exit status
PASSED=0
FAILED=0
LAST_OUTPUT=

pass() {
    PASSED=$((PASSED + 1))
    printf '  ok    %s\n' "$1"
}

fail() {
    FAILED=$((FAILED + 1))
    printf '  FAIL  %s\n' "$1"
    [ -z "${2:-}" ] || printf '%s\n' "$2" | head -n 40 | sed 's/^/        | /'
}

check() {
    local what=$1
    shift
    if LAST_OUTPUT=$("$@" 2>&1 </dev/null); then
        pass "$what"
    else
        fail "$what" "\$ $*
$LAST_OUTPUT"
        return 1
    fi
}

check_fails() {
    local what=$1
    shift
    if LAST_OUTPUT=$("$@" 2>&1 </dev/null); then
        fail "$what" "\$ $*   (succeeded, must not)
$LAST_OUTPUT"
        return 1
    fi
    pass "$what"
}

check_output() {
    local what=$1 regex=$2
    shift 2
    LAST_OUTPUT=$("$@" 2>&1 </dev/null)
    if grep -qE -- "$regex" <<<"$LAST_OUTPUT"; then
        pass "$what"
    else
        fail "$what" "\$ $*
wanted: $regex
$LAST_OUTPUT"
        return 1
    fi
}

check_equal() {
    local what=$1 wanted=$2 got=$3
    if [ "$wanted" = "$got" ]; then
        pass "$what"
    else
        fail "$what" "wanted: $wanted
got:    $got"
        return 1
    fi
}

eventually() {
    local limit=$1 end
    shift
    end=$((SECONDS + limit))
    until "$@" >/dev/null 2>&1 </dev/null; do
        [ $SECONDS -lt $end ] || {
            "$@" </dev/null
            return $?
        }
        sleep 0.1
    done
}

finish() {
    printf '%d passed, %d failed\n' "$PASSED" "$FAILED"
    [ "$FAILED" -eq 0 ] && [ "$PASSED" -gt 0 ]
}

# eventually_output SECONDS REGEX COMMAND...: repeats until the output matches, prints the last output.
eventually_output() {
    local limit=$1 regex=$2 end output
    shift 2
    end=$((SECONDS + limit))
    until output=$("$@" 2>&1 </dev/null) && grep -qE -- "$regex" <<<"$output"; do
        [ $SECONDS -lt $end ] || break
        sleep 0.1
    done
    printf '%s\n' "$output"
}
