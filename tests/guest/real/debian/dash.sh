cat > /tmp/s <<'X'
set -e
n=0
while [ $n -lt 3 ]; do
    n=$((n+1))
    echo "$n $(echo sub$n | cut -c2-)"
done
case abc in a*) echo glob;; esac
for f in /etc/pass*; do echo "${f##*/}"; done
eval 'x=${y:-default}'
echo $x
(trap 'echo bye' EXIT; exit 2) || echo $?
X
dash /tmp/s
echo 'exit 9' | dash
echo $?
