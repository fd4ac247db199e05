cd /tmp
mkdir t
for i in 1 2 3; do seq $i 3 $((i*20)) > t/f$i; done
grep -rnE '^(1|2)0$' t | sort
grep -oP '(?<=1)\d' t/f1 | sort | uniq -c
grep -c . t/f*
sed -n '2,4{s/\(.\)/<\1>/gp}' t/f2
sed -i -e '1d' -e '$!N;s/\n/ /' t/f3
head -3 t/f3
tar czf t.tgz --mtime=@0 --owner=0 --sort=name t
mkdir u
tar xzf t.tgz -C u
tar tvzf t.tgz | tr -s ' ' | cut -d' ' -f1,3,6
cat u/t/* | cksum
gzip -dc t.tgz | wc -c
echo x | grep y
echo $?
