# kill -9 of a hive-worker under load

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Hive::Fault;

fault_test(name => 'kill -9 a hive-worker', inject => sub {
    my ($hive, $round) = @_;
    my @pids = $hive->worker_pids;
    kill(KILL => $pids[$round % @pids]) == 1 or die "nothing was killed\n";
});
done_testing;
