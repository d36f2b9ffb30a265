# unit.t: the unit tests in C (t/unit, cmocka), each a program.

use strict;
use warnings;
use FindBin qw($Bin);
use Test::More;

my $build = "$Bin/../" . ($ENV{HIVE_BUILD} // 'build');
my @sources = sort glob "$Bin/unit/*_test.c";
ok scalar @sources, 'there are unit tests';

for my $source (@sources) {
    my ($name) = $source =~ m{([^/]+)\.c$};
    my $program = "$build/t/$name";
    if (!-x $program) {
        fail "$program is not built: make unit";
        next;
    }
    local $ENV{CMOCKA_MESSAGE_OUTPUT} = 'TAP';
    my $said = `cd '$Bin/..' && timeout 120 '$program' 2>&1`;
    my $status = $?;
    my ($plan) = $said =~ /^1\.\.(\d+)/m;
    my $passed = () = $said =~ /^ok /mg;
    ok !$status && $plan && $passed >= $plan, "$name: " . ($plan // 0) . ' tests' or diag "status $status\n$said";
}

done_testing;
