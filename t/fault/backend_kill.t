# kill -9 of one Postgres backend: Postgres drops every connection, recovers

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Hive::Fault;

fault_test(name => 'kill -9 a Postgres backend', lasts => 3, recover => 5, inject => sub {
    my ($hive) = @_;
    my @pids = $hive->psql(q{select pid from pg_stat_activity where usename = 'hive' order by random() limit 1}) =~ /(\d+)/;
    kill(KILL => $pids[0]) == 1 or die "nothing was killed\n";
});
done_testing;
