# kill -9, under load, of a hive-worker, of an nginx worker, and of a Postgres
# backend, after which Postgres drops every connection and recovers

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Hive::Fault;

fault_test({
    name => 'kill -9 a hive-worker', inject => sub {
        my ($hive, $round) = @_;
        my @pids = $hive->worker_pids;
        kill(KILL => $pids[$round % @pids]) == 1 or die "nothing was killed\n";
    },
}, {
    name => 'kill -9 an nginx worker', inject => sub {
        my ($hive, $round) = @_;
        my @pids = $hive->nginx_pids;
        kill(KILL => $pids[$round % @pids]) == 1 or die "nothing was killed\n";
    },
    allow => [qr/worker process \d+ exited on signal 9/],
}, {
    name => 'kill -9 a Postgres backend', lasts => 3, recover => 5, inject => sub {
        my ($hive) = @_;
        my @pids = $hive->psql(q{select pid from pg_stat_activity where usename = 'hive' order by random() limit 1}) =~ /(\d+)/;
        kill(KILL => $pids[0]) == 1 or die "nothing was killed\n";
    },
});
done_testing;
