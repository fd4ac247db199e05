# What an agent does to a repository by a shell: it looks round, edits, tests, and thinks between.
#
#   busybox sh swe.sh FILES TURNS [git] [python3]
#
# FILES sources are written first.  With a further word that tool, an unmodified program, does its part in each turn.  The pauses are those of a
# model that thinks: 60 % of the time, arXiv 2602.09345.
files=$1 turns=$2
shift 2
has() { case " $* " in *" $tool "*) return 0 ;; esac; return 1; }
think() { sleep ${1:-4}; }

mkdir -p /work/src && cd /work/src
awk -v files=$files 'BEGIN {
    for (f = 1; f <= files; f++) {
        name = sprintf("module_%03d.py", f)
        for (l = 1; l <= 60; l++)
            printf "def function_%d_%d(value):\n    return value * %d + %d\n\n", f, l, f * l % 97, l > name
        close(name)
    }
}'
export GIT_EXEC_PATH=/bin GIT_CONFIG_NOSYSTEM=1 HOME=/tmp
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_AUTHOR_DATE="2026-01-01T00:00:00Z"
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_COMMITTER_DATE="2026-01-01T00:00:00Z"
tool=git
if has "$@"; then
    git init -q --template= . && git add . && git -c gc.auto=0 commit -q -m begin
fi

turn=1
while [ $turn -le $turns ]; do
    ls | wc -l
    think 3
    grep -l "value \* 4[0-9]" *.py | sort | tail -3
    think 5
    file=$(ls | sed -n "$((turn * 7 % files + 1))p")
    sed -i "s/value \* /value * $turn + /" $file
    think 4
    cat *.py | sed -n 's/.*return //p' | sort | uniq -c | sort -rn | head -3
    tar cf /tmp/all.tar . && gzip -c /tmp/all.tar | wc -c > /tmp/size
    find . -name '*.py' | xargs md5sum > /tmp/sums-$turn
    think 6
    tool=git
    if has "$@"; then
        git diff --stat | cat
        git add -A && git -c gc.auto=0 commit -q -m "turn $turn" && git log --oneline | cut -d ' ' -f 2- | head -3
    fi
    tool=python3
    if has "$@"; then
        python3 -I -S -B /work/check.py /work/src/$file
    fi
    turn=$((turn + 1))
done
rm -rf /work/src /tmp/sums-* /tmp/all.tar
think 5
