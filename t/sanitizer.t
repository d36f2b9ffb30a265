# sanitizer.t: the unit and end-to-end tests again, with module and workers
# built for address and undefined-behaviour sanitizers. Any report fails them.

use strict;
use warnings;
use FindBin qw($Bin);
use Test::More;

plan skip_all => 'this is such a run, or one for coverage' if $ENV{HIVE_BUILD};
plan skip_all => 'build-asan/ is not built: make SANITIZE=1' unless -x "$Bin/../build-asan/hive-worker";

for my $test (map { s{^\Q$Bin/\E}{}r } "$Bin/unit.t", glob "$Bin/{http,identity,module,work,worker}/*.t") {
    local $ENV{HIVE_BUILD} = 'build-asan';
    my $said = `cd '$Bin/..' && timeout 300 perl -It/lib 't/$test' 2>&1`;
    ok $? == 0, $test or diag substr $said, -6000;
}

done_testing;
