#!/usr/bin/env bash
# The tests on kernels that watch themselves: AddressSanitizer and UndefinedBehaviorSanitizer, every finding an error.
#
#     scripts/sanitize.sh                       the whole suite
#     scripts/sanitize.sh tests/index -x        with pytest's arguments
#     SANITIZED=/tmp/built scripts/sanitize.sh  keep the build in a folder, and go on from it the next time
#
# A copy of the tracked and new files is built and tested; nothing is left in the tree. GCC is needed, and the virtual
# environment of `pip install -e ".[test]"`.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=${VIRTUAL_ENV:-$root/.venv}/bin
if [ -n "${SANITIZED:-}" ]; then
  work=$SANITIZED
else
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi
mkdir -p "$work/tree"
git -C "$root" ls-files -z --cached --others --exclude-standard \
  | (cd "$root" && while IFS= read -r -d '' file; do if [ -f "$file" ]; then printf '%s\0' "$file"; fi; done) \
  | tar -C "$root" --null -T - -cf - | tar -C "$work/tree" -xf -
cd "$work/tree"

checks=-fsanitize=address,undefined
CFLAGS="$checks -fno-sanitize-recover=all -fno-omit-frame-pointer -g1" LDFLAGS="$checks" \
  "$bin/pip" install -q --no-deps --upgrade --target "$work/site" .

# Leaks are not looked for: the interpreter leaves memory to the system at its end. Nor is new[] with delete, which is
# how hnswlib's binding frees its answers; the kernels are C and have neither. PYTHONMALLOC has every object come from
# malloc, and so between red zones of its own. Left out are the soak and the churn, which bound a process's memory: the
# sanitizers' own books would be part of it.
export ASAN_OPTIONS=detect_leaks=0:alloc_dealloc_mismatch=0:allocator_may_return_null=1:abort_on_error=1
export UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1
export PYTHONMALLOC=malloc PYTHONPATH=$work/site AGENTMEM_BACKEND=native
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)" \
  "$bin/python" "$bin/pytest" -q -p no:cacheprovider --capture=sys -o timeout=1800 \
  --deselect tests/fuzz/test_soak.py::test_searches_leave_no_memory_and_no_open_file_behind \
  --deselect tests/fuzz/test_soak.py::test_adds_cost_few_bytes_a_record_and_go_on_where_they_were \
  --deselect tests/trust/test_churn_copies.py::test_copies_and_others_are_found_whatever_goes_and_comes_back "$@"
