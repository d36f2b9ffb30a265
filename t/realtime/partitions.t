# partitions.t: a change that is made while the partition of its day comes
# about fails nobody

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Test::More;
use Time::HiRes qw(sleep);

my $hive = Hive::Test->start(workers => 1, nginx_workers => 1);
my $user = $hive->register;

ok $hive->wait_for(10, sub { $hive->psql(q{select count(*) >= 4 from cell0.partition_days where relation = 'events'}) eq 't' }), 'the days to come are there soon';

my $name = $hive->psql(q{select name from cell0.partition_days where relation = 'events' and begins <= now() and ends > now()});
ok $name, 'today is one';
$hive->psql("drop table cell0.$name");
is $hive->post('/api/v1/projects', $user, { name => 'before' })->code, 201, 'without it the default one takes what comes';

my $pid = fork // die;
if (!$pid) {
    $hive->psql("begin; set search_path = cell0, hive; select partitions_prepare('events', 0); select pg_sleep(1.5); commit");
    require POSIX;
    POSIX::_exit(0);
}
sleep 0.7;
my $res = $hive->post('/api/v1/projects', $user, { name => 'meanwhile' });
waitpid $pid, 0;
is $res->code, 201, 'what waited for the partition goes into it' or diag $res->body;
is $hive->psql("select count(*) from cell0.$name where channel = 'project:" . $res->json->{id} . "'"), 1, 'with its event';
is $hive->psql('select count(*) from cell0.events_default'), 0, 'and what came before has moved there';

$hive->stop;
done_testing;
