# kill -9 of an nginx worker under load

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Hive::Fault;

fault_test(name => 'kill -9 an nginx worker', inject => sub {
    my ($hive, $round) = @_;
    my @pids = $hive->nginx_pids;
    kill(KILL => $pids[$round % @pids]) == 1 or die "nothing was killed\n";
}, allow => [qr/worker process \d+ exited on signal 9/]);
done_testing;
