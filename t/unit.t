# unit.t: the unit tests in C (t/unit, cmocka), each a program. What they do
# most is wait: three run at once, those that wait longest first.

use strict;
use warnings;
use FindBin qw($Bin);
use File::Temp ();
use Test::More;

my $build = "$Bin/../" . ($ENV{HIVE_BUILD} // 'build');
my %long = map { $_ => 1 } qw(db_lost_test supervisor_test server_test db_test db_time_test);
my @names = map { m{([^/]+)\.c$} } glob "$Bin/unit/*_test.c";
ok scalar @names, 'there are unit tests';

my $dir = File::Temp->newdir;
my (%name, %status);

sub reap {
    my $pid = wait;
    $status{ $name{$pid} } = $?;
    delete $name{$pid};
    return;
}

local $ENV{CMOCKA_MESSAGE_OUTPUT} = 'TAP';
for my $name (sort { ($long{$b} // 0) <=> ($long{$a} // 0) || $a cmp $b } @names) {
    next unless -x "$build/t/$name";
    reap() if keys %name >= 3;
    my $pid = fork // die "fork: $!";
    if (!$pid) { exec "cd '$Bin/..' && exec timeout 120 '$build/t/$name' >'$dir/$name' 2>&1" }
    $name{$pid} = $name;
}
reap() while %name;

for my $name (sort @names) {
    if (!defined $status{$name}) {
        fail "$build/t/$name is not built: make unit";
        next;
    }
    open my $fh, '<', "$dir/$name" or die "$name: $!";
    my $said = do { local $/; <$fh> } // '';
    my ($plan) = $said =~ /^1\.\.(\d+)/m;
    my $passed = () = $said =~ /^ok /mg;
    ok !$status{$name} && $plan && $passed >= $plan, "$name: " . ($plan // 0) . ' tests' or diag "status $status{$name}\n$said";
}

done_testing;
