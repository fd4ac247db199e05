cat > /tmp/t.lua <<'X'
local t = {}
for i = 1, 10 do t[#t + 1] = i * i end
print(table.concat(t, " "), #t, _VERSION)
print(string.format("%5.3f %q", math.pi, "a\nb"), ("x"):rep(3), select("#", 1, nil, 2))
print(pcall(error, 7))
local co = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)
print(co(), co(), co())
print(io.popen("echo popen"):read("a"))
print(string.pack(">I4", 7):byte(1, -1))
print(utf8.char(228), 7 // 2, 1 << 62)
for w in ("a b c"):gmatch("%w") do io.write(w, ";") end
print(os.time{year=2000, month=1, day=1, hour=0}, os.getenv("HOME"))
X
lua5.4 /tmp/t.lua
lua5.4 -e 'os.exit(5)'
echo $?
