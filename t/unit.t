# unit.t: the unit tests in C (t/unit, cmocka), each a program.

use strict;
use warnings;
use FindBin qw($Bin);
use Test::More;

my $build = "$Bin/../" . ($ENV{HIVE_BUILD} // 'build');
my @sources = sort glob "$Bin/unit/*_test.c";
ok scalar @sources, 'there are unit tests';

# of the sanitizer build, when there is one: it sees more
my $asan = "$Bin/../build-asan";
for my $source (@sources) {
    my ($name) = $source =~ m{([^/]+)\.c$};
    for my $dir ($build, $ENV{HIVE_BUILD} ? () : $asan) {
        my $program = "$dir/t/$name";
        if (!-x $program) {
            fail "$program is not built: make unit" if $dir eq $build;
            next;
        }
        local $ENV{CMOCKA_MESSAGE_OUTPUT} = 'TAP';
        local $ENV{ASAN_OPTIONS} = 'detect_stack_use_after_return=0';
        my $said = `cd '$Bin/..' && timeout 120 '$program' 2>&1`;
        my $status = $?;
        my $where = $dir eq $asan ? ' with sanitizers' : '';
        my ($plan) = $said =~ /^1\.\.(\d+)/m;
        my $passed = () = $said =~ /^ok /mg;
        ok !$status && $plan && $passed >= $plan, "$name$where: " . ($plan // 0) . ' tests' or diag "status $status\n$said";
    }
}

done_testing;
