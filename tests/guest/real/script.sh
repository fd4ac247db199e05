#!/bin/sh
# What people do in shell scripts, for `busybox sh`: the same output every time, in any empty directory.
LC_ALL=C
TZ=UTC
export LC_ALL TZ
umask 022
failures=0

section() { printf '== %s\n' "$*"; }
check() { # check WHAT EXPECTED GOT
    if test "$2" = "$3"; then
        echo "ok $1"
    else
        failures=$((failures + 1))
        echo "NOT ok $1: expected <$2>, got <$3>"
    fi
}

section functions
factorial() {
    if [ "$1" -le 1 ]; then echo 1; else echo $(($1 * $(factorial $(($1 - 1))))); fi
}
scoped() { local x=inner y; y=$x; echo "$y"; return 7; }
x=outer
scoped; check "status of a function" 7 $?
check "local variables" outer "$x"
check "recursion by command substitution" 3628800 "$(factorial 10)"
count() { echo $#; }
set -- "one two" three ''
check "\$@ keeps words" 3 "$(count "$@")"
check "\$* joins them" 1 "$(count "$*")"
check "unquoted splits" 3 "$(count $*)"
shift 2
check "shift" 1 $#

section loops and case
for i in 1 2 3 4 5 6; do
    case $i in
        2) continue ;;
        5) break ;;
        [13]) echo "odd $i" ;;
        *) echo "other $i" ;;
    esac
done
n=0
while [ $n -lt 1000 ]; do n=$((n + 7)); done
until [ $((n % 10)) -eq 0 ]; do n=$((n - 1)); done
echo "n=$n"
classify() {
    case $1 in
        *.tar.gz | *.tgz) echo archive ;;
        [!a-z]*) echo "no letter" ;;
        ?) echo "one letter" ;;
        '') echo nothing ;;
        *) echo name ;;
    esac
}
for word in a.tgz 9lives q '' plain; do classify "$word"; done

section arithmetic
echo $((7 / 2)) $((-7 / 2)) $((7 % -3)) $((1 << 40)) $((0xff & 0x3c | 1)) $((5 > 3 && 2 > 9)) $((~0)) $((010)) $((3 > 2 ? 8 : 9))
i=5; echo $((i += 3)) $((i *= 2)) $((i ^ 1)) $i
primes=''
for i in $(seq 2 60); do
    d=2
    while [ $((d * d)) -le "$i" ] && [ $((i % d)) -ne 0 ]; do d=$((d + 1)); done
    [ $((d * d)) -gt "$i" ] && primes="$primes $i"
done
echo "primes:$primes"

section strings
path=/usr/local/lib/libfoo.so.1.2
echo "${path##*/} ${path%/*} ${path#/} ${path%%.*} ${#path}"
unset nope; empty=
echo "${nope-unset} ${empty-kept}${empty:-empty} ${nope:=assigned} $nope ${path:+set} ${path:5:5} ${path//lib/LIB}"
(: "${missing:?is needed}") 2>/dev/null; check "\${x:?}" 2 "$([ $? -ne 0 ] && echo 2)"
IFS=:; set -- a:b::c; for f in $1; do printf '<%s>' "$f"; done; echo; unset IFS
printf '%05d|%-6s|%6.2f|%x|%c|%%|%b\n' 42 left 3.14159 255 z 'tab\there'

section here-documents
name=World
cat <<END
Hello, $name: $((6 * 7)) $(echo nested | tr a-z A-Z)
END
cat <<'END'
Not $expanded, `nor this`
END
cat <<-END | sed 's/^/> /'
	tabs are
		stripped
	END
check "a large here-document" 20000 "$(wc -c <<END
$(i=0; while [ $i -lt 400 ]; do printf '%049d\n' $i; i=$((i + 1)); done)
END
)"

section redirections
echo first >file; echo second >>file; cat <file
{ echo to-out; echo to-err >&2; } >both 2>&1; cat both
{ echo to-out; echo to-err >&2; } 2>err >out; paste out err
exec 3>third; echo "by descriptor 3" >&3; echo "and again" >&3; exec 3>&-; cat third
exec 4<third; read -r one <&4; read -r two <&4; exec 4<&-; echo "$two / $one"
swapped=$({ { echo o; echo e >&2; } 3>&1 1>&2 2>&3 3>&-; } 2>/dev/null); echo "swapped: <$swapped>"
exec 5<>updown; echo 0123456789 >&5; exec 5>&-; printf XY | dd of=updown bs=1 seek=4 conv=notrunc 2>/dev/null; cat updown
set -C; (echo clobber >file) 2>/dev/null; check "noclobber" 1 $?; set +C
(echo no >&9) 2>/dev/null; check "a closed descriptor" 1 $?
(cat <not-there) 2>/dev/null; check "no such file" 1 $?
(cd not-there) 2>/dev/null; check "no such directory" 2 "$(($? ? 2 : 0))"

section statuses
true; check true 0 $?
false; check false 1 $?
(exit 42); check "exit of a subshell" 42 $?
! true; check "negation" 1 $?
no-such-command-here 2>/dev/null; check "no such command" 127 $?
echo plain >noexec; ./noexec 2>/dev/null; check "not executable" 126 $?
false | true; check "a pipeline's last" 0 $?
set -o pipefail; (exit 3) | true; check pipefail 3 $?; set +o pipefail
sh -c 'kill -TERM $$'; check "killed by SIGTERM" 143 $? 2>&1
(set -e; echo before; false; echo never); check "set -e" 1 $?
(set -e; if false; then :; fi; false || true; echo "set -e passes conditions")
(set -u; echo "$undefined_variable") 2>/dev/null; check "set -u" yes "$([ $? -ne 0 ] && echo yes)"
out=$(echo text; exit 5); check "status of a substitution" "5 text" "$? $out"
eval 'y=$((1 + 1)); (exit $y)'; check "eval" 2 $?
[ -f file ] && [ ! -d file ] && [ -s file ] && [ -r file ] && [ ! -x file ] && [ 10 -gt 9 ] && [ a != b ] && [ -n a ] && [ -z '' ] && echo tested
[[ abc == a* && ! x == y ]] && echo "double brackets"

section traps
(trap 'echo "exit trap, status $?"' EXIT; echo body; exit 9); check "status past a trap" 9 $?
(trap 'echo got USR1' USR1; kill -USR1 $(sh -c 'echo $PPID'); echo after)
(trap '' TERM; kill -TERM $(sh -c 'echo $PPID'); echo "ignored TERM")
sh -c 'trap "echo INT; exit 4" INT; kill -INT $$; echo never'; check "exit from a trap" 4 $?
sh -c 'trap "echo trapped; caught=1" USR2; (sleep 0.1; kill -USR2 $$) & while [ -z "$caught" ]; do wait $!; done; echo "woken"'

section jobs
for i in 1 2 3; do (exit $i) & eval "job$i=\$!"; done
wait $job2; check "wait for the second" 2 $?
wait $job3; check "wait for the third" 3 $?
wait $job1; check "wait for the first" 1 $?
sleep 100 & sleeper=$!
kill -0 $sleeper; check "it is there" 0 $?
kill $sleeper; wait $sleeper 2>/dev/null; check "a killed sleep" 143 $?
kill -0 $sleeper 2>/dev/null; check "it is gone" 1 $?
sleep 100 & kill -KILL $!; wait $! 2>/dev/null; check "killed the hard way" 137 $?
(sleep 0.2; echo later >later) & echo sooner; wait; cat later
timeout 0.2 sleep 100; check "timeout" 143 $?
mkfifo pipe; (for i in 1 2 3; do echo "line $i"; done >pipe) & while read -r line; do echo "from the fifo: $line"; done <pipe; wait

section pipes
seq 1 1000 | awk '{ s += $1 } END { print s, NR }'
yes | head -n 3 | tr '\n' ' '; echo
printf 'b 2\na 1\nc 3\na 1\n' | sort | uniq -c | sort -rn | sed 's/^ *//'
echo 'alpha:beta:gamma' | cut -d: -f2,3 | tr a-z: A-Z-
seq 1 60000 | tr '0-9' 'x' | (head -c 10; echo; wc -c >rest) # more than a pipe holds
[ "$(cat rest)" -gt 200000 ] && echo "the rest is drained"
seq 1 5 | while read -r v; do [ "$v" = 4 ] && break; echo "v$v"; done | tee copy | tail -n 1; cat copy | wc -l
printf 'k1 = v1\n# comment\n\nk2=v2 \n' | sed -n -e '/^#/d' -e 's/ *= */=/' -e 's/ $//' -e '/=/p' | while IFS== read -r k v; do echo "$k -> $v"; done
printf 'one two  three\\four\n' | { read -r a b c; echo "[$a] [$b] [$c]"; }
awk 'BEGIN { FS = ":" } { n[$2] += $1 } END { for (k in n) print k, n[k]; printf "%.3f %s\n", 355 / 113, toupper(substr("busybox", 5)) }' <<END | sort
3:pear
4:apple
5:pear
END
seq 1 12 | sed -n -e '/[369]/{s/.*/<&>/;p' -e '}' | xargs echo
echo 'a b c d e' | xargs -n 2 echo pair
seq 1 3 | xargs -I{} sh -c 'echo "child {}"'

section files
mkdir -p tree/a/b tree/c; for f in tree/1.txt tree/a/2.txt tree/a/b/3.log tree/c/4.txt 'tree/c/with space.txt'; do echo "content of $f" >"$f"; done
echo tree/*.txt tree/*/*.txt tree/[ab] tree/none*
find tree -type f | sort
find tree -name '*.txt' -print0 | sort -z | xargs -0 cat
find tree -type f -exec wc -c {} + | tail -n 1
ln -s ../1.txt tree/c/link; ln tree/1.txt tree/hard; readlink tree/c/link; cat tree/c/link; [ tree/1.txt -ef tree/hard ] && echo "the same file"
chmod 640 tree/1.txt; stat -c '%a %h %s' tree/hard; touch -d '2001-02-03 04:05:06' tree/1.txt; stat -c %Y tree/1.txt; date -r tree/1.txt +%F
sums() { (cd "$1" && find . -type f | sort | tr '\n' '\0' | xargs -0 md5sum); }
tar -cf a.tar tree && gzip -9 a.tar && mkdir back && gunzip -c a.tar.gz | tar -xf - -C back
tar -tzf a.tar.gz | sort; [ "$(sums tree)" = "$(sums back/tree)" ] && echo "tar: round trip"
cp -a tree again && rm again/a/2.txt && echo more >>again/c/4.txt; diff -rq tree again | sort
mv again moved && rm -r moved/c && (cd moved && echo * && cd - >/dev/null); [ -e again ] || echo moved
temp=$(mktemp ./tmp.XXXXXX) && [ -f "$temp" ] && echo "a temporary file of ${#temp}" && rm "$temp"

section getopts
options() {
    OPTIND=1; verbose=0 output=
    while getopts vo: opt "$@"; do
        case $opt in v) verbose=$((verbose + 1)) ;; o) output=$OPTARG ;; *) echo "usage"; return 2 ;; esac
    done
    shift $((OPTIND - 1)); echo "verbose=$verbose output=$output rest=$*"
}
options -v -o file -v a b; options -vvofile; options -x 2>/dev/null; check "a bad option" 2 $?

section environment
export GREETING=hi; sh -c 'echo $GREETING'; GREETING=ho sh -c 'echo $GREETING'; env -i A=1 sh -c 'echo ${GREETING-none} $A'
readonly constant=1; (constant=2) 2>/dev/null; check readonly yes "$([ $? -ne 0 ] && echo yes)"
set -- a; set -- "$@" 'b c'; echo "$#: $*"; unset GREETING; echo "${GREETING-gone}"; command -v sh >/dev/null && echo "there is a shell"
echo 'return 6' >returns; . ./returns; check "return from a sourced file" 6 $?
printf '. done\necho "sourced in $0"\n' | sed 1d >part.sh; set -- x; . ./part.sh | sed 's/ in .*/./'
echo $(echo "a
b") "$(printf 'trailing\n\n\n')" `echo old \`echo nested\``

echo "failures: $failures"
exit $((failures != 0))
