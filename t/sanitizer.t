# sanitizer.t: the unit and end-to-end tests again, with module and workers
# built for address and undefined-behaviour sanitizers. Any report fails them.

use strict;
use warnings;
use FindBin qw($Bin);
use Test::More;

plan skip_all => 'this is such a run, or one for coverage' if $ENV{HIVE_BUILD};
plan skip_all => 'build-asan/ is not built: make SANITIZE=1' unless -x "$Bin/../build-asan/hive-worker";

# Three at a time, since what they do most is wait; what waits longest first.
my %long = map { $_ => 1 } qw(t/work/runners.t t/work/engine_faults.t);
# Three that are of the client and of SQL are not among them.
my %left = map { $_ => 1 } qw(t/realtime/client.t t/realtime/outbox.t t/realtime/partitions.t);
my @tests = sort { ($long{$b} // 0) <=> ($long{$a} // 0) } grep { !$left{$_} } map { s{^\Q$Bin/\E}{t/}r } "$Bin/unit.t", glob "$Bin/{http,identity,module,realtime,work,worker}/*.t";
local $ENV{HIVE_BUILD} = 'build-asan';
my $said = `cd '$Bin/..' && timeout 900 prove -j3 -It/lib @tests 2>&1`;
ok $? == 0, scalar(@tests) . ' files' or diag substr $said, -12000;

done_testing;
