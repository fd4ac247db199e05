cd /tmp
seq 100 | shuf --random-source=/bin/ls | sort -n | md5sum
seq 20 | split -l 7 - part
wc -l part*
mkdir -p d/e
ln -s ../partaa d/l
ls -lR --time-style=+ d | tr -s ' ' | cut -d' ' -f1,6-
stat -c '%s %A %F' d/l
date -u -d @86400 +%F
sha256sum < partaa
paste -sd+ partac
tac partaa | head -2
nl -ba partac | tail -1
env -i A=1 printenv
factor 360
expr 17 % 5
basename "$PWD/d" d
timeout 5 true
echo $?
timeout 0.1 sleep 5
echo $?
tee copy < partab | comm -12 - partab | wc -l
touch -d 2001-01-01 old
find . -newer old -name 'part*' | sort
seq 9 | xargs -n 2 echo | head -3
dd if=/bin/ls bs=1 count=4 2>/dev/null | od -c | head -1
cp -a d d2
mv d2 d3
rm -r d
ls d3 | wc -l
chmod 640 old
stat -c %a old
ln old hard
stat -c %h old
truncate -s 1M big
du -k --apparent-size big
mktemp -u XXX | wc -c
whoami
id
