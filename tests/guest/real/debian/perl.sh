cat > /tmp/t.pl <<'X'
use strict; use warnings;
use POSIX qw(floor strftime);
use List::Util qw(sum first);
use Data::Dumper;
use Time::HiRes qw(sleep);
$Data::Dumper::Sortkeys = 1;
$| = 1;
print Dumper({a => [1, 2], b => "x"});
print sum(map { $_ ** 2 } 1 .. 10), " ", floor(-2.5), " ", first { $_ > 3 } 1 .. 9;
print "\n", strftime("%Y-%m-%d", gmtime(0)), "\n";
my %h;
$h{$_ % 7}++ for 1 .. 100;
print join(",", map { "$_=$h{$_}" } sort keys %h), "\n";
open my $p, "-|", "echo from a child; exit 3" or die;
print <$p>;
close $p;
print $? >> 8, "\n";
(my $t = "hello world") =~ s/(\w+)/\u$1/g;
print "$t\n";
my $pid = fork // die;
unless ($pid) { exit 4 }
waitpid $pid, 0;
print $? >> 8, "\n";
local $SIG{ALRM} = sub { print "alarm\n" };
alarm 1;
select undef, undef, undef, 5;
eval { die { code => 42 } };
print $@->{code}, "\n";
printf "%vd %s\n", "1.22.333", $];
print scalar reverse("abc"), " ", unpack("H*", pack("Nn", 1, 2)), "\n";
open my $f, ">", "/tmp/f" or die;
print $f "line $_\n" for 1 .. 1000;
close $f;
print -s "/tmp/f", " ", (stat "/tmp/f")[7], "\n";
X
perl /tmp/t.pl
perl -ne 'print if /77/' /tmp/f
perl -e 'use threads; print threads->create(sub { $_[0] * 2 }, 21)->join, "\n"'
perl -e 'exit 6'
echo $?
