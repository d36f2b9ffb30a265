# engine_faults.t: a process that dies, hangs or stops takes nothing with it.

use strict;
use warnings;
use Test::More;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Time::HiRes qw(sleep time);
use Hive::Test;
use Hive::Test::Tasks;

my $hive = Hive::Test->start(workers => 2);
my $tasks = Hive::Test::Tasks->new($hive);

sub runner_of {
    my ($id) = @_;
    return $hive->psql("select w.pid from cell0.tasks t join cell0.task_workers w on w.id = t.worker_id where t.id = '$id'");
}

# One of them that runs in that process.
sub running_in {
    my ($pid, @ids) = @_;
    my ($id) = split /\n/, $hive->psql("select t.id from cell0.tasks t join cell0.task_workers w on w.id = t.worker_id"
        . " where w.pid = $pid and t.id in (" . join(',', map { "'$_'" } @ids) . ') limit 1');
    return $id;
}

subtest 'kill -9' => sub {
    my @ids = map { $tasks->add(kind => 'sleep', input => '{"ms": 3000}') } 1 .. 6;
    my $once = $tasks->add(kind => 'sleep', input => '{"ms": 3000}', max_attempts => 1);
    ok $tasks->wait_state($_, 'running'), 'runs' for @ids, $once;
    my %pid = map { $_ => runner_of($_) } @ids, $once;
    my $died = time;
    $hive->kill_worker('KILL', $pid{$once});
    my @orphans = grep { $pid{$_} == $pid{$once} } @ids;
    for my $id (@orphans) {
        ok $hive->wait_for(17, sub { $tasks->of($id, 'attempt') == 2 }), 'an orphan is run again';
        cmp_ok time - $died, '<', 7, 'soon, since its successor knows of the death (' . sprintf('%.1f', time - $died) . ' s)';
    }
    is $tasks->ended($_, 10), 'succeeded', 'succeeds' for @ids;
    is $tasks->of($once, 'state'), 'failed', 'one without another attempt has failed';
    is $tasks->of($once, "error->>'code'"), 'lost', 'as lost';
    is $tasks->of($_, 'attempt'), $pid{$_} == $pid{$once} ? 2 : 1, 'attempts as expected' for @ids;
    is $hive->psql("select count(*), min(outcome) from cell0.task_attempts where task_id in (" . join(',', map { "'$_'" } @orphans, $once) . ')'),
        (@orphans + 1) . '|lost', 'the lost attempts are told of';
};

subtest 'a zombie is refused' => sub {
    ok $hive->wait_up, 'all serve again';
    my @ids = $tasks->add(kind => 'sleep', input => '{"ms": 4000}', count => 8);
    ok $tasks->wait_state($_, 'running'), 'runs' for @ids;
    my $pid = runner_of($ids[0]);
    my @its = grep { runner_of($_) == $pid } @ids;
    my $worker = $tasks->of($ids[0], 'worker_id');
    $hive->allow(qr/hang|silent|aborted|signal 6|core/);
    kill 'STOP', $hive->worker_master;   # its supervisor would kill it
    kill 'STOP', $pid;
    ok $hive->wait_for(17, sub { $tasks->of($ids[0], 'worker_id') ne $worker && $tasks->of($ids[0], 'attempt') == 2 }),
        'its tasks are given to others';
    kill 'CONT', $pid;
    ok $hive->wait_log('worker', qr/taken for dead/, 10), 'it finds that out';
    is $tasks->ended($_, 12), 'succeeded', 'succeeds' for @ids;
    is $tasks->of($_, 'attempt'), 2, 'at the second attempt' for @its;
    isnt $tasks->of($its[0], 'worker_id'), $worker, 'of somebody else';
    is $hive->psql("select count(*) from cell0.task_history where id = '$its[0]'"), 1, 'finished once';
    my $again = $tasks->add(kind => 'sleep', input => '{"ms": 10}', count => 200);
    ok defined $tasks->drained(10), 'both work on';
    is $hive->psql("select count(distinct worker_id) from cell0.task_history where created_at > now() - interval '10 s' and worker_id = '$worker'"), 0,
        'none as who it was';
    kill 'CONT', $hive->worker_master;
};

subtest 'a stop in good order' => sub {
    ok $hive->wait_up, 'all serve again';
    my @short = $tasks->add(kind => 'sleep', input => '{"ms": 1500}', count => 20);
    ok $tasks->wait_state($_, 'running'), 'runs' for @short[0, 19];
    my $before = $hive->psql('select count(*) from cell0.task_workers where dead_at is null');
    ok $hive->reload_workers(40), 'the workers are replaced';
    is $tasks->ended($_, 10), 'succeeded', 'ended well' for @short;
    is $hive->psql("select max(attempt) from cell0.task_history where id in (" . join(',', map { "'$_'" } @short) . ')'), 1, 'at the first attempt';
    is $hive->psql('select count(*) from cell0.task_workers where dead_at is null'), 2, 'those who left have signed out';
};

$hive->stop;

subtest 'what does not end within the drain' => sub {
    my $short = Hive::Test->start(workers => 1, ini => { worker => { drain_timeout => '1s' } });
    my $its = Hive::Test::Tasks->new($short);
    my $id = $its->add(kind => 'sleep', input => '{"ms": 8000}', max_attempts => 1);
    my @waiting = $its->add(kind => 'sleep', input => '{"ms": 8000}', count => 80, max_attempts => 1);
    ok $its->wait_state($id, 'running'), 'runs';
    ok $short->reload_workers(30), 'the worker is replaced';
    ok $short->wait_for(5, sub { $its->of($id, 'attempt') == 2 && $its->of($id, 'state') eq 'running' }),
        'its task is run by its successor at once';
    is $its->ended($id, 12), 'succeeded', 'though it had only one attempt: it cost none';
    is $short->psql("select count(*) from cell0.task_attempts where task_id = '$id' and error->>'code' = 'worker_stopping'"), 1, 'told of';
    $short->stop;
};

done_testing;
