# The live stream while workers of Hive, nginx workers and connections are
# killed, and while nginx is reloaded: nobody misses an event, gets one twice
# or out of order

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Time::HiRes qw(sleep time);
use Hive::Live;
use Hive::Test;

my $long = $ENV{HIVE_FAULT_ROUNDS};
my ($seconds, $events, $many) = $long ? (60, 10_000, 5_000) : (10, 2_000, 500);

my $hive = Hive::Test->start(workers => 2, nginx_workers => 2,
    http => "hive_live_connections 20000;\nhive_live_check 1s;\nhive_websocket_drain 3s;",
    worker_connections => 12_000);
$hive->allow(qr/worker process \d+ exited on signal 9/);
my $live = Hive::Live->new($hive, channels => 100);

# ---- everything is killed ----

{
    my $watch = $live->watch(connections => 100, each => 20, cut => 150);
    $watch->complete(20) or BAIL_OUT('the clients did not get their subscriptions');
    my @writers = $live->write_in_background(writers => 4, events => $events, seconds => $seconds);
    my $until = time + $seconds;
    my %killed = (worker => 0, nginx => 0);
    while (time < $until) {
        sleep 0.6 + rand 1.2;
        my $what = rand() < 0.5 ? 'worker' : 'nginx';
        my @pids = $what eq 'worker' ? $hive->worker_pids : $hive->nginx_pids;
        next unless @pids;
        $killed{$what} += kill KILL => $pids[rand @pids];
    }
    $live->wait_for(@writers);
    my $end = $watch->finish;
    note explain $end;
    note "killed: $killed{worker} hive-workers, $killed{nginx} nginx workers";
    cmp_ok($killed{worker} + $killed{nginx}, '>', $seconds / 4, 'processes were killed');
    cmp_ok($end->{reconnects}, '>', 10, 'connections were lost');
    cmp_ok($end->{events}, '>=', 20 * $live->written, 'each event reached all who watch');
    is($end->{duplicates}, 0, 'nobody got an event twice');
    is($end->{disorders}, 0, 'nobody got one before one that was missing');
    is($end->{behind}, 0, 'everybody got the last one');
    is($end->{unrecovered}, 0, 'nobody had to look anew');
    is($end->{errors}, 0, 'no error that a client cannot know of');
}

# ---- reload ----

{
    my $watch = $live->watch(connections => $many, each => 1);
    ok($watch->complete(60), "$many connections") or BAIL_OUT('no connections');
    my @writers = $live->write_in_background(writers => 1, events => 200, seconds => 5);
    my $began = time;
    $hive->reload_nginx;
    ok($watch->complete(20), 'all of them are back after a reload');
    my $took = time - $began;
    $live->wait_for(@writers);
    my $end = $watch->finish;
    note explain $end;
    is($end->{closes}{1001} // 0, $many, 'each was closed with 1001, once');
    is_deeply([keys %{ $end->{closes} }], ['1001'], 'and none in another way');
    cmp_ok($took, '<', 3 + 2, sprintf 'within the time of hive_websocket_drain (%.1f s)', $took);
    is($end->{"$_"}, 0, "none $_") for qw(duplicates disorders behind unrecovered errors);
}

$hive->stop;
done_testing;
