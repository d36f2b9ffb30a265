# engine.t: tasks run once, in their time, and end as they should.

use strict;
use warnings;
use Test::More;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Time::HiRes qw(sleep time);
use Hive::Test;
use Hive::Test::Tasks;

my $hive = Hive::Test->start(workers => 2, ini => { tasks => { cancel_grace => '1s' } });
my $tasks = Hive::Test::Tasks->new($hive);

sub attempts {
    my ($id) = @_;
    return $hive->psql("select string_agg(attempt || ' ' || outcome || ' ' || coalesce(error->>'code', ''), ', ' order by attempt)"
        . " from cell0.task_attempts where task_id = '$id'");
}

sub events {
    my ($id) = @_;
    return $hive->psql(qq{select string_agg("offset" || ' ' || type, ', ' order by "offset") from cell0.task_events('$id')});
}

subtest 'success' => sub {
    my $noop = $tasks->add;
    is $tasks->ended($noop), 'succeeded', 'noop';
    is $tasks->of($noop, 'attempt'), 1, 'at its first attempt';
    is $tasks->of($noop, "id || ''", 'tasks'), '', 'and left the table of the unfinished';
    is events($noop), '1 task.created, 2 task.running, 3 task.succeeded', 'with its events';

    my $sleep = $tasks->add(kind => 'sleep', input => '{"ms": 50}');
    is $tasks->ended($sleep), 'succeeded', 'sleep';
    is $tasks->of($sleep, "result->>'slept_ms'"), 50, 'with a result';
};

subtest 'failure and retries' => sub {
    my $id = $tasks->add(kind => 'sleep', input => '{"fail": 2}', backoff_ms => 100);
    is $tasks->ended($id), 'succeeded', 'the third attempt succeeds';
    is $tasks->of($id, 'attempt'), 3, 'which it was';
    is attempts($id), '1 failed asked_to_fail, 2 failed asked_to_fail', 'the others are told of';
    is events($id), '1 task.created, 2 task.running, 3 task.retrying, 4 task.ready, 5 task.running, 6 task.retrying, 7 task.ready, 8 task.running, 9 task.succeeded',
        'offsets have no gap';

    $id = $tasks->add(kind => 'sleep', input => '{"fail": 9}', backoff_ms => 20, max_attempts => 2);
    is $tasks->ended($id), 'failed', 'out of attempts';
    is $tasks->of($id, "error->>'code'"), 'asked_to_fail', 'with the error of the last';
    is attempts($id), '1 failed asked_to_fail, 2 failed asked_to_fail', 'and both attempts';

    $id = $tasks->add(kind => 'sleep', input => '{"ms": "soon"}');
    is $tasks->ended($id), 'failed', 'a raise is a failure';
    is $tasks->of($id, "error->>'code'"), 'invalid_input', 'with its code';
    is $tasks->of($id, 'attempt'), 1, 'what is wrong with it stays wrong: it is not tried again';
};

subtest 'back-off doubles' => sub {
    my $id = $tasks->add(kind => 'sleep', input => '{"fail": 3}', backoff_ms => 200, max_attempts => 4);
    is $tasks->ended($id), 'succeeded', 'succeeds';
    my @at = split /\n/, $hive->psql("select extract(epoch from started_at) from cell0.task_attempts where task_id = '$id' order by attempt");
    push @at, $hive->psql("select extract(epoch from started_at) from cell0.task_history where id = '$id'");
    for my $n (1 .. 3) {
        my $gap = $at[$n] - $at[ $n - 1 ];
        my $base = 0.2 * 2**($n - 1);
        cmp_ok $gap, '>=', $base * 0.5, "pause $n is at least half of $base s";
        cmp_ok $gap, '<=', $base + 0.3, '... and not much more than that';
    }
};

subtest 'time-out' => sub {
    my $id = $tasks->add(kind => 'sleep', input => '{"ms": 20000}', timeout_ms => 200, max_attempts => 2, backoff_ms => 20);
    is $tasks->ended($id), 'failed', 'failed';
    is attempts($id), '1 timed_out timed_out, 2 timed_out timed_out', 'both attempts timed out';
    is $tasks->of($id, "error->>'code'"), 'timed_out', 'which is its error';
};

subtest 'deadline' => sub {
    my $late = $hive->psql("select now() + interval '400 ms'");
    my $running = $tasks->add(kind => 'sleep', input => '{"ms": 20000}', deadline_at => $late);
    my $waiting = $tasks->add(kind => 'sleep', state => 'blocked', deps_left => 1, deadline_at => $late);
    is $tasks->ended($running), 'failed', 'one that runs';
    is $tasks->ended($waiting), 'failed', 'one that waits';
    is $tasks->of($_, "error->>'code'"), 'deadline_exceeded', 'the deadline is its error' for $running, $waiting;
};

subtest 'cancel' => sub {
    my @ids = map { $tasks->add(kind => 'sleep', input => $_) } '{"ms": 30000}', '{"ms": 6000, "deaf": true}';
    ok $tasks->wait_state($_, 'running'), 'runs' for @ids;
    $hive->psql("update cell0.tasks set cancel_requested = true where id = '$_'") for @ids;
    is $tasks->ended($ids[0], 5), 'cancelled', 'one that listens';
    is $tasks->ended($ids[1], 5), 'cancelled', 'one that does not, after its grace';
    is attempts($ids[0]), '1 cancelled ', 'its attempt is told of';
    sleep 5;
    is $tasks->of($ids[1], 'state'), 'cancelled', 'and whatever it says later is refused';
};

subtest 'pause' => sub {
    my $id = $tasks->add(kind => 'sleep', input => '{"ms": 5000}', max_attempts => 1);
    ok $tasks->wait_state($id, 'running'), 'runs';
    $hive->psql("update cell0.tasks set pause_requested = true where id = '$id'");
    ok $tasks->wait_state($id, 'paused'), 'paused';
    is attempts($id), '1 paused ', 'its attempt is told of';
    $hive->psql("update cell0.tasks set state = 'ready' where id = '$id'");
    Hive::Test::Tasks::queue($hive);
    is $tasks->ended($id, 12), 'succeeded', 'it is run again';
    is $tasks->of($id, 'attempt'), 2, 'though it had only one attempt: a pause costs none';
};

subtest 'scheduled' => sub {
    # the machine may stall: three looks; what looks too rarely is late in each
    my @late;
    for (1 .. 3) {
        @late = ();
        my @ids = map { $tasks->add(kind => 'noop', state => 'scheduled', run_at => "now() + interval '$_ ms'") } 1200, 1500, 1900;
        for my $id (@ids) {
            is $tasks->ended($id), 'succeeded', 'runs';
            push @late, $tasks->of($id, 'extract(epoch from started_at - run_at)');
            cmp_ok $late[-1], '>=', 0, 'not before its time';
        }
        last unless grep { $_ >= 0.1 } @late;
    }
    cmp_ok $_, '<', 0.1, "and within 100 ms of it ($_)" for @late;
};

subtest 'progress' => sub {
    my $id = $tasks->add(kind => 'sleep', input => '{"ms": 1000, "progress": true}');
    is $tasks->ended($id), 'succeeded', 'succeeds';
    is $tasks->of($id, 'progress'), 1, 'what was said last is kept';
    is $tasks->of($id, 'progress_message'), 'sleeping', 'with its message';
    my $n = $tasks->of($id, 'progress_seq - progress_first + 1');
    cmp_ok $n, '>=', 3, 'told while it ran';
    cmp_ok $n, '<=', 6, "at most four times a second ($n)";
};

subtest 'many' => sub {
    my @ids = $tasks->add(count => 20000);
    ok defined $tasks->drained(20), 'all are done';
    is $hive->psql("select count(*), max(attempt) from cell0.task_history where state = 'succeeded' and id >= '$ids[0]'"), '20000|1', 'each once';
    is $hive->psql("select count(distinct worker_id) from cell0.task_history where id >= '$ids[0]'"), 2, 'by both processes';
};

$hive->stop;
done_testing;
