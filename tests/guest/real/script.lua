-- What Lua programs do: the same output every time.  It writes and removes files of its own in the current directory.
local function section(name) print("== " .. name) end

section "closures and varargs"
local function counter()
    local n = 0
    return function(by) n = n + (by or 1); return n end
end
local c, d = counter(), counter()
c(); c(10); d()
print(c(), d(), select("#", nil, nil), (select(2, "a", "b", "c")), table.unpack({1, 2, 3}, 2))
print(math.type(1), math.type(1.0), 7 // 2, -7 // 2, 7 % -3, 7 / 2, 1 << 40, ~0, 5 ~ 3, 2 ^ 10, 10 // 0.0, math.maxinteger + 1 == math.mininteger)
print(string.format("%5.2f|%-5s|%05d|%x|%q|%g|%.14g", math.pi, "ab", 42, 255, "a\n\"b\"", 1e100, 0.1))

section "strings"
local text = "The quick brown fox jumps over the lazy dog"
print(#text, text:upper(), text:reverse():sub(1, 8), text:rep(2, "; "):len())
print((text:gsub("%w+", function(w) return #w > 4 and w:upper() or nil end)))
for k, v in ("a=1, b = 22 ,c=333"):gmatch("(%w+)%s*=%s*(%d+)") do io.write(k, "->", v, " ") end
print()
print(text:find("o", 15, true), text:match("(%a+) dog$"), ("%d"):rep(3, ","):format(1, 2, 3), ("x"):byte(), string.char(76, 117, 97))
print(string.pack("<i4z", 258, "hi"):gsub(".", function(b) return ("%02x "):format(b:byte()) end))
print(utf8.char(8364, 955, 128512), utf8.len("λx→€"), tostring("naïve"):len())

section "tables"
local words = {}
for w in text:lower():gmatch("%a+") do words[#words + 1] = w end
table.sort(words)
print(table.concat(words, " "))
table.sort(words, function(a, b) if #a ~= #b then return #a > #b end return a < b end)
print(table.concat(words, " "))
local counts, keys = {}, {}
for letter in text:lower():gmatch("%a") do counts[letter] = (counts[letter] or 0) + 1 end
for letter in pairs(counts) do keys[#keys + 1] = letter end
table.sort(keys, function(a, b) return counts[a] == counts[b] and a < b or counts[a] > counts[b] end)
for i = 1, 5 do io.write(keys[i], counts[keys[i]], " ") end
print(table.remove(words), table.remove(words, 1), #words, table.concat(table.move({1, 2, 3}, 1, 3, 2), ","))
local seed, numbers = 12345, {}
for i = 1, 20000 do
    seed = (seed * 1103515245 + 12345) % 2147483648
    numbers[i] = seed
end
table.sort(numbers)
local ordered = true
for i = 2, #numbers do ordered = ordered and numbers[i - 1] <= numbers[i] end
print("sorted 20000:", ordered, numbers[1], numbers[10000], numbers[20000])

section "metatables"
local Vector = {}
Vector.__index = Vector
Vector.__add = function(a, b) return Vector.new(a.x + b.x, a.y + b.y) end
Vector.__eq = function(a, b) return a.x == b.x and a.y == b.y end
Vector.__tostring = function(v) return ("(%d, %d)"):format(v.x, v.y) end
Vector.__call = function(v, scale) return Vector.new(v.x * scale, v.y * scale) end
Vector.__close = function(v) print("closed", v) end
function Vector.new(x, y) return setmetatable({x = x, y = y}, Vector) end
do
    local v <close> = Vector.new(1, 2) + Vector.new(3, 4)
    print(v, v(3), v == Vector.new(4, 6))
end
local fib = setmetatable({1, 1}, {__index = function(t, n) t[n] = t[n - 1] + t[n - 2]; return t[n] end})
print(fib[80])

section "coroutines"
local function permutations(list)
    local function generate(n)
        if n == 0 then coroutine.yield(table.concat(list)) end
        for i = 1, n do
            list[i], list[n] = list[n], list[i]
            generate(n - 1)
            list[i], list[n] = list[n], list[i]
        end
    end
    return coroutine.wrap(function() generate(#list) end)
end
for p in permutations {"a", "b", "c"} do io.write(p, " ") end
print()
local echo = coroutine.create(function(...)
    local got = table.pack(...)
    while true do got = table.pack(coroutine.yield(got.n, got[1])) end
end)
print(coroutine.resume(echo, "x", nil)); print(coroutine.resume(echo)); print(coroutine.status(echo), coroutine.close(echo), coroutine.status(echo))
local switches = 0
local ping = coroutine.wrap(function() while true do switches = switches + 1; coroutine.yield() end end)
for _ = 1, 50000 do ping() end
print("switches", switches)

section "errors"
print(pcall(error, {code = 7}) == false, select(2, pcall(error, "plain", 0)), (select(2, pcall(function() local t; return t.x end)):gsub("^.-:%d+: ", "")))
print(xpcall(function() error("deep", 0) end, function(m) return "handled " .. m end))
print(load("return 1 +"), load("return 6 * 7")())
print(select(2, pcall(string.rep, "x", -1)) == "", pcall(setmetatable, 1, {}))
local function overflow(n) return 1 + overflow(n + 1) end
print((select(2, pcall(overflow, 1)):gsub("^.-:%d+: ", ""):gsub("%s*%(.*", "")))

section "garbage"
local weak = setmetatable({}, {__mode = "v"})
local finalized = 0
for i = 1, 1000 do
    weak[i] = setmetatable({("x"):rep(1000) .. i}, {__gc = function() finalized = finalized + 1 end})
end
collectgarbage(); collectgarbage()
print(next(weak), finalized, collectgarbage("count") > 0)
collectgarbage("generational")
local kept = {}
for i = 1, 100000 do kept[i % 100] = {i, tostring(i)} end
print(kept[0][2], kept[99][1])
collectgarbage("incremental")

section "files"
local name = "lua-file.txt"
local f <const> = assert(io.open(name, "w+"))
f:setvbuf("full", 4096)
for i = 1, 1000 do f:write(i, "\t", i * i, "\n") end
print(f:seek("cur"), f:seek("set", 0), f:read("n", "n"), f:read("l"), f:read("L"))
print(f:seek("end", -9), f:read("a"))
f:close()
local sum, lines = 0, 0
for a, b in io.lines(name, "n", "n") do sum, lines = sum + b - a, lines + 1 end
print(sum, lines, io.type(f), pcall(f.read, f))
local appended = assert(io.open(name, "a")); appended:write("the end\n"); appended:close()
local last; for line in io.lines(name) do last = line end
print(last)
print(os.rename(name, "lua-renamed.txt"), io.open(name))
print(os.remove("lua-renamed.txt"), os.remove("lua-renamed.txt"))
io.output():write("to ", "stdout\n"); io.stderr:write("to stderr\n")
print(os.getenv("NO_SUCH_VARIABLE"), os.date("!%Y-%m-%d %H:%M:%S", 1e9 // 1), os.time {year = 2001, month = 9, day = 9, hour = 12} > 0, os.clock() >= 0)

section "numbers"
local function sieve(n)
    local composite, primes = {}, 0
    for i = 2, n do
        if not composite[i] then
            primes = primes + 1
            for j = i * i, n, i do composite[j] = true end
        end
    end
    return primes
end
print("primes below 100000:", sieve(100000))
local x = 1.0
for _ = 1, 50 do x = x - (x * x - 2) / (2 * x) end
print(("%.15f %.6f %.6f %.6f"):format(x, math.sin(1), math.exp(1), math.log(10)), math.fmod(-7, 3), math.tointeger(3.0), math.ult(1, -1))
os.exit(arg[1] and tonumber(arg[1]) or 0, true)
