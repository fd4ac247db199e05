declare -A a=([x]=1 [y]=2)
for k in "${!a[@]}"; do echo "$k=${a[$k]}"; done | sort
f() { local IFS=,; echo "$*"; }
f {1..5}
echo $((7**3)) "${BASH_VERSINFO[0]}"
cat <<< "here: $((1 + 1))"
trap 'echo usr1' USR1
kill -USR1 $$
(exit 5)
echo $?
read -r l <<< line
echo "${l^^}"
coproc cat
echo hi >&"${COPROC[1]}"
read -r x <&"${COPROC[0]}"
echo "$x"
eval "exec ${COPROC[1]}>&-"
wait
printf '%q %5.2f\n' 'a b' 3.14159
for i in 1 2 3; do (exit $i) & done
wait
jobs
[[ abc123 =~ ([a-z]+)([0-9]+) ]] && echo "${BASH_REMATCH[2]}"
seq 3 > /tmp/lines
mapfile -t lines < /tmp/lines
echo "${#lines[@]} ${lines[-1]}"
set -o pipefail
false | true
echo $?
sh -c 'kill -9 $$'
echo $?
