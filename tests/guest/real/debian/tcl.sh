cat > /tmp/t.tcl <<'X'
puts "[expr {6 * 7}] [lsort {c b a}] [string toupper abc] [info patchlevel]"
proc fib n {expr {$n < 2 ? $n : [fib [expr {$n-1}]] + [fib [expr {$n-2}]]}}
puts [fib 15]
array set a {x 1 y 2}
foreach k [lsort [array names a]] {puts "$k $a($k)"}
puts [clock format 0 -gmt 1 -format %Y]
puts [exec echo child]
after 20 {set done 1}
vwait done
puts [regexp -inline {(\d+)-(\d+)} 12-34]
puts [catch {error oops} m]$m
set f [open /tmp/x w]
puts $f hi
close $f
puts [file size /tmp/x]
coroutine c apply {{} {yield 1; yield 2}}
puts [c]
puts [dict get {a {b 3}} a b]
binary scan abc H* h
puts $h
exit 4
X
tclsh8.6 /tmp/t.tcl
