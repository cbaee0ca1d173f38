# Sourced by the benchmarks.
now_ms() { echo $(($(date +%s%N) / 1000000)); }
# median NUMBER...
median() { printf '%s\n' "$@" | sort -n | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
