cd /tmp
export GIT_AUTHOR_DATE='2001-01-01T00:00:00Z' GIT_COMMITTER_DATE='2001-01-01T00:00:00Z'
git config --global user.email a@b
git config --global user.name n
git config --global init.defaultBranch main
git init -q r
cd r
seq 30 > f
git add f
git commit -qm first
git checkout -qb side
sed -i 's/^7$/seven/' f
git commit -qam side
git checkout -q main
sed -i 's/^25$/twentyfive/' f
git commit -qam main
git merge -q side -m merge
git log --graph --format='%h %s'
git diff HEAD~1 --stat
cd ..
git clone -q r s
cd s
git log -1 --format=%H
git status -sb
git gc -q
git fsck 2>&1
git show HEAD:f | sed -n 7p
git branch -a
echo more >> f
git diff | tail -3
git stash -q
git rev-list --count HEAD
git archive HEAD | tar tf -
git push -q origin HEAD:pushed 2>&1
git ls-remote ../r | cut -f2
