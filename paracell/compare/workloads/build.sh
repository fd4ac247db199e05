# A build: compilers in parallel, a link, a clean; twice.
#
#   busybox sh build.sh JOBS SOURCES [SCALE [KEEP [SEED]]]
#
# Each compiler is a process of its own that takes 5 to 60 MiB for about a second and a half, and leaves KEEP per cent of its pages as
# files; the linker takes 120 MiB, and "clean" removes what they left.  That sizes vary, that the jobs overlap, and that memory comes back
# in pieces is what HyperAlloc (EuroSys 2025) measured in a build of clang; its sizes fit a guest of 19 GiB, ours one of 512 MiB.  SCALE, a
# percentage, makes all of them smaller.  "agent" is the program that takes the memory: docs/workloads.md.
jobs=$1 sources=$2 scale=${3:-100} keep=${4:-5} seed=${5:-1}

one() { # NAME MIB SECONDS SEED
    echo "tool $1 $2 $3" > /tmp/$1.trace
    agent /tmp/$1.trace scale=$scale keep=$keep seed=$4
    rm /tmp/$1.trace
}

for round in 1 2; do
    source=1
    while [ $source -le $sources ]; do
        job=1
        while [ $job -le $jobs ] && [ $source -le $sources ]; do
            seed=$(((seed * 1103515245 + 12345) % 2147483648))
            one cc$source $((6 + seed / 65536 % 43)) 1.$((seed / 4096 % 10)) $((seed % 1000 + 1)) > /tmp/cc$source.out &
            job=$((job + 1)) source=$((source + 1))
        done
        wait
    done
    cat $(ls /tmp/cc*.out | sort)
    one ld 96 1.5 $round
    echo "$(ls /tmp | grep -c '^agent-cc') objects, $(du -s /tmp | cut -f 1) KiB"
    rm -f /tmp/agent-* /tmp/cc*.out
    sleep 4
done
