# runners.t: programs elsewhere claim tasks over HTTP, keep them by heartbeats,
# and end them once, whatever comes late, twice or not at all.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Hive::Test::Tasks;
use Mojo::IOLoop;
use Mojo::Promise;
use Test::More;
use Time::HiRes qw(sleep time);

my $hive = Hive::Test->start(workers => 2, nginx_workers => 2, ini => { tasks => { cancel_grace => '1s' } });
my $ada = $hive->register;
my $eve = $hive->register;
my $base = '/api/v1/tasks';
my $kinds = 0;

sub add {
    my ($kind, %o) = @_;
    my $user = delete $o{user} // $ada;
    my $res = $hive->post($base, $user, { kind => $kind, %o });
    $res->code == 201 or die 'add: ' . $res->code . ' ' . $res->body;
    return $res->json->{id};
}

# Tasks claimed, as a list.
sub claim {
    my ($kind, %o) = @_;
    my $user = delete $o{user} // $ada;
    my $res = $hive->post("$base/claim", $user, { kinds => ref $kind ? $kind : [$kind], %o });
    $res->code == 200 or die 'claim: ' . $res->code . ' ' . $res->body;
    return @{ $res->json->{tasks} };
}

sub report {
    my ($verb, $task, %o) = @_;
    my $user = delete $o{user} // $ada;
    return $hive->post("$base/$task->{id}/$verb", $user, { lease_token => $task->{lease_token}, %o });
}

sub row {
    my ($id, $columns) = @_;
    return $hive->psql("select $columns from cell0.all_tasks where id = '$id'");
}

sub attempts {
    my ($id) = @_;
    return $hive->psql("select string_agg(attempt || ' ' || outcome, ', ' order by attempt) from cell0.task_attempts where task_id = '$id'");
}

# A claim in the background: a promise of [seconds it took, response].
sub claim_later {
    my (%body) = @_;
    my $user = delete $body{user} // $ada;
    my $began = time;
    my $tx = $hive->ua->build_tx(POST => $hive->url("$base/claim") => { Authorization => "Bearer $user->{token}" } => json => \%body);
    return $hive->ua->start_p($tx)->then(sub { [time - $began, $_[0]->res, time] });
}

sub later { Mojo::Promise->timer($_[0]) }

sub done {
    my ($promise) = @_;
    my @result;
    $promise->then(sub { @result = @_ }, sub { die "promise: @_" })->wait;
    return $result[0];
}

subtest 'a claim' => sub {
    my $id = add('one.a', input => { n => 1, text => "\x{e9}" }, title => 'First', priority => 'high', labels => ['x']);
    my @none = claim('one.b');
    is @none, 0, 'of another kind finds nothing';
    my ($task, @more) = claim('one.a', max => 10, lease_ms => 5000);
    is @more, 0, 'hands it out once';
    is $task->{id}, $id, 'the task';
    is_deeply $task->{input}, { n => 1, text => "\x{e9}" }, 'with its input';
    is $task->{title}, 'First', 'and the rest of it';
    is $task->{priority}, 7, 'as the API shows it';
    is_deeply $task->{labels}, ['x'], 'labels';
    is $task->{attempt}, 1, 'attempt';
    is $task->{state}, 'running', 'state';
    like $task->{lease_token}, qr/^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/, 'lease token';
    my $left = $hive->psql("select extract(epoch from timestamptz '$task->{lease_until}' - now())");
    ok $left > 3.5 && $left <= 5, "lease until then ($left s)";
    is scalar(() = claim('one.a')), 0, 'and is gone';

    my $res = report('complete', $task, result => { sum => 3 }, cost_nano_usd => 7);
    is $res->code, 200, 'completed' or diag $res->body;
    is $res->json->{state}, 'succeeded', 'state';
    my $shown = $hive->get("$base/$id", $ada)->json;
    is_deeply $shown->{result}, { sum => 3 }, 'result';
    is $shown->{cost_nano_usd}, 7, 'cost';
    is $hive->psql(qq{select string_agg(type, ' ' order by "offset") from cell0.task_events('$id')}),
        'task.created task.running task.succeeded', 'events';
    ok $hive->wait_for(5, sub { !$hive->psql("select count(*) from cell0.task_claims where worker_id = '$task->{lease_token}'") }),
        'nothing else is left of it';
};

subtest 'what is wrong is said' => sub {
    my $check = sub {
        my ($body, $field) = @_;
        my $res = $hive->post("$base/claim", $ada, $body);
        is $res->code, 422, "$field is refused";
        like $res->json->{errors}[0]{field}, qr/^\Q$field\E/, 'and named';
    };
    $check->({}, 'kinds');
    $check->({ kinds => [] }, 'kinds');
    $check->({ kinds => ['x'], max => 0 }, 'max');
    $check->({ kinds => ['x'], max => 101 }, 'max');
    $check->({ kinds => ['x'], wait_ms => 25001 }, 'wait_ms');
    $check->({ kinds => ['x'], lease_ms => 999 }, 'lease_ms');
    $check->({ kinds => ['x'], colour => 1 }, 'colour');
    is $hive->post("$base/claim", undef, { kinds => ['x'] })->code, 401, 'not without a token';

    add('wrong');
    my ($task) = claim('wrong');
    is report('progress', $task, progress => 2)->code, 422, 'more than all';
    is report('progress', $task, counters => [])->code, 422, 'counters that are none';
    is report('fail', $task)->code, 422, 'a failure without error';
    is report('fail', $task, error => { message => 'x' })->code, 422, 'nor code';
    is report('fail', $task, error => { code => 'x', more => 1 })->code, 422, 'or with more';
    is report('complete', $task, cost_nano_usd => -1)->code, 422, 'a negative cost';
    is $hive->post("$base/$task->{id}/heartbeat", $ada, { lease_token => 'x' })->code, 422, 'a token that is none';
    is report('complete', $task)->code, 200, 'it is still held';
};

subtest 'a stranger' => sub {
    add('strange');
    is scalar(() = claim('strange', user => $eve)), 0, 'claims nothing of it';
    my ($task) = claim('strange');
    my %extra = (fail => { error => { code => 'x' } }, progress => { progress => 1 });
    for my $verb (qw(heartbeat progress complete fail)) {
        my $res = report($verb, $task, user => $eve, %{ $extra{$verb} // {} });
        is $res->code, 404, "$verb";
        is $res->json->{code}, 'task_not_found', 'there is no such task for them';
    }
    is row($task->{id}, 'state'), 'running', 'it is as it was';
    is report('complete', $task)->code, 200, 'its own runner ends it';
};

subtest 'kinds that run here' => sub {
    my $id = add('noop');
    ok $hive->wait_for(10, sub { row($id, 'state') eq 'succeeded' }), 'run here';
    add('sleep', input => { ms => 3000 });
    is scalar(() = claim('sleep')), 0, 'and are nobody else\'s';
};

subtest 'several kinds' => sub {
    add('many.a') for 1 .. 10;
    add('many.b') for 1 .. 2;
    my @tasks = claim(['many.a', 'many.b', 'many.c'], max => 4);
    is @tasks, 4, 'as many as asked for';
    is scalar(grep { $_->{kind} eq 'many.b' } @tasks), 2, 'one kind does not keep out the other';
    push @tasks, claim(['many.b', 'many.a'], max => 100);
    is @tasks, 12, 'and the rest';
    is scalar(keys %{ { map { $_->{id} => 1 } @tasks } }), 12, 'each once';
    report('complete', $_) for @tasks;
};

subtest 'order' => sub {
    my $low = add('order', priority => 0);
    my $high = add('order', priority => 9);
    my @ids = map { add('order') } 1 .. 3;
    my @got = map { $_->{id} } claim('order', max => 10);
    is @got, 5, 'all';
    is $got[0], $hive->psql("select id from cell0.tasks where kind = 'order' order by turn, id limit 1"), 'in order of turns';
    is_deeply \@got, [split /\n/, $hive->psql("select id from cell0.tasks where kind = 'order' order by turn, id")], 'all of them';
};

subtest 'limits' => sub {
    add('limited', limit => { key => 'lane', max => 2 }) for 1 .. 5;
    my @held;
    $hive->wait_for(5, sub { push @held, claim('limited', max => 10); @held >= 2 });
    sleep 0.3;
    push @held, claim('limited', max => 10);
    is @held, 2, 'two at once';
    report('complete', shift @held);
    my @next = claim('limited', max => 10, wait_ms => 5000);
    is @next, 1, 'the next when one has ended';
    report('complete', $_) for @held, @next;
    my $ended = 3;
    while ($ended < 5) {
        my @more = claim('limited', wait_ms => 5000) or last;
        report('complete', $_) for @more;
        $ended += @more;
    }
    is $ended, 5, 'and so all';
};

subtest 'long poll' => sub {
    my $result = done(claim_later(kinds => ['poll'], wait_ms => 700));
    is_deeply $result->[1]->json, { tasks => [] }, 'ends empty';
    ok $result->[0] >= 0.69 && $result->[0] < 1.5, "at its time ($result->[0] s)";

    my (@latency, @wrong);
    for my $i (1 .. 20) {
        my $claim = claim_later(kinds => ['elsewhere', 'poll'], wait_ms => 10000);
        my ($added, $id);
        later(0.05)->then(sub {
            my $tx = $hive->ua->build_tx(POST => $hive->url($base) => { Authorization => "Bearer $ada->{token}" } => json => { kind => 'poll' });
            return $hive->ua->start_p($tx);
        })->then(sub { $added = time; $id = $_[0]->res->json->{id} })->wait;
        my $got = done($claim);
        my $task = $got->[1]->json->{tasks}[0];
        push @wrong, $i if !$task || $task->{id} ne $id;
        push @latency, $got->[2] - $added;
        report('complete', $task);
    }
    is "@wrong", '', 'each gets the task made meanwhile';
    @latency = sort { $a <=> $b } @latency;
    note sprintf 'from created to claimed: median %.1f ms, worst %.1f ms', 1000 * $latency[10], 1000 * $latency[-1];
    ok $latency[10] < 0.1, 'a waiting claim is woken';
    ok $latency[-1] < 1.5, 'and if not looks itself';
};

subtest 'a client that hangs up' => sub {
    my $body = '{"kinds":["hangup"],"wait_ms":20000}';
    my $socket = $hive->connect;
    $socket->syswrite("POST $base/claim HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $ada->{token}\r\n"
        . 'Content-Type: application/json' . "\r\nContent-Length: " . length($body) . "\r\n\r\n$body");
    ok $hive->wait_for(5, sub { $hive->in_flight }), 'waits';
    close $socket;
    ok $hive->wait_for(5, sub { !$hive->in_flight }), 'and is gone';
    my $id = add('hangup');
    sleep 1.2;
    is row($id, "state || ' ' || attempt"), 'ready 0', 'it claims nothing';
    my ($task) = claim('hangup');
    is $task->{attempt}, 1, 'the next one does';
    report('complete', $task);
};

subtest 'two runners racing' => sub {
    my $made = $hive->psql(<<"SQL");
        insert into cell0.tasks (id, owner_id, created_at, run_at, kind, state, turn, remote)
        select ('01900000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid, '$ada->{id}', now(), now(), 'race', 'ready', i, true
        from generate_series(1, 300) i returning id
SQL
    Hive::Test::Tasks::queue($hive);
    my %seen;
    my $round;
    $round = sub {
        return claim_later(kinds => ['race'], max => 7)->then(sub {
            my @tasks = @{ $_[0][1]->json->{tasks} };
            $seen{ $_->{id} }++ for @tasks;
            return @tasks ? $round->() : undef;
        });
    };
    done(Mojo::Promise->all(map { $round->() } 1 .. 6));
    is scalar(keys %seen), 300, 'all are handed out';
    is scalar(grep { $_ != 1 } values %seen), 0, 'each to one';
};

subtest 'a lease that runs out' => sub {
    my $id = add('lease');
    my ($late) = claim('lease', lease_ms => 1000);
    my $began = time;
    my ($task) = claim('lease', wait_ms => 20000, lease_ms => 30000);
    my $took = time - $began;
    is $task->{id}, $id, 'another runner has it';
    is $task->{attempt}, 2, 'for another attempt';
    ok $took > 0.9 && $took < 8, sprintf 'after %.1f s', $took;
    is attempts($id), '1 lost', 'the first is lost';
    my %extra = (fail => { error => { code => 'x' } }, progress => { progress => 1 });
    for my $verb (qw(heartbeat progress complete fail)) {
        my $res = report($verb, $late, %{ $extra{$verb} // {} });
        is $res->code, 409, "$verb of the late one";
        is $res->json->{code}, 'lease_lost', 'is refused';
    }
    is row($id, "state || ' ' || attempt || ' ' || coalesce(progress::text, '')"), 'running 2 ', 'and changes nothing';
    is report('complete', $task, result => { by => 'second' })->code, 200, 'the second completes';
    is row($id, "result->>'by'"), 'second', 'and its word counts';
    is report('complete', $late, result => { by => 'first' })->code, 409, 'later still: refused';
};

subtest 'heartbeats keep a lease' => sub {
    my $id = add('beat');
    my ($task) = claim('beat', lease_ms => 1000);
    for (1 .. 8) {
        sleep 0.4;
        my $res = report('heartbeat', $task);
        is $res->code, 200, 'heard' if $res->code != 200;
        is_deeply [@{ $res->json }{qw(cancel_requested pause_requested)}], [Mojo::JSON->false, Mojo::JSON->false], 'nothing asked' if $_ == 1;
    }
    is row($id, "state || ' ' || attempt"), 'running 1', 'for as long as they come';
    my $until = report('heartbeat', $task, lease_ms => 60000)->json->{lease_until};
    ok $hive->psql("select extract(epoch from timestamptz '$until' - now())") > 50, 'for longer when asked';
    is report('complete', $task)->code, 200, 'then it ends';

    add('beat.timeout', timeout_ms => 1500, max_attempts => 1);
    ($task) = claim('beat.timeout', lease_ms => 60000);
    ok $hive->psql("select extract(epoch from timestamptz '$task->{lease_until}' - now())") <= 1.5, 'never beyond the time-out';
    ok $hive->wait_for(8, sub { row($task->{id}, 'state') eq 'failed' }), 'which ends the attempt';
    is attempts($task->{id}), '1 timed_out', 'as what it was';
    is report('heartbeat', $task)->code, 409, 'for good';
};

subtest 'said twice' => sub {
    my $id = add('twice');
    my ($task) = claim('twice');
    my $first = report('complete', $task, result => 1);
    my $again = report('complete', $task, result => 1);
    is $again->code, 200, 'complete, again';
    is_deeply $again->json, $first->json, 'is answered the same';
    is report('fail', $task, error => { code => 'x' })->code, 409, 'but not contradicted';
    is report('complete', { %$task, lease_token => '00000000-0000-4000-8000-000000000001' })->code, 409, 'nor by another lease';

    $id = add('twice', max_attempts => 2, backoff_ms => 60000);
    ($task) = claim('twice');
    for (1, 2) {
        my $res = report('fail', $task, error => { code => 'tired', message => 'of it' });
        is $res->code, 200, 'fail';
        is $res->json->{state}, 'scheduled', 'to be tried again';
    }
    is attempts($id), '1 failed', 'once';
    is report('complete', $task)->code, 409, 'but not contradicted';
};

subtest 'failures' => sub {
    my $id = add('fails', max_attempts => 2, backoff_ms => 50);
    my ($task) = claim('fails');
    is report('fail', $task, error => { code => 'once' })->json->{state}, 'scheduled', 'the first is tried again';
    ($task) = claim('fails', wait_ms => 5000);
    is $task->{attempt}, 2, 'soon';
    is $task->{error}{code}, 'once', 'and told of the last';
    is report('fail', $task, error => { code => 'twice', message => 'm' })->json->{state}, 'failed', 'the last is not';
    is row($id, "error->>'code'"), 'twice', 'with its error';
    is attempts($id), '1 failed, 2 failed', 'both are kept';

    add('fails');
    ($task) = claim('fails');
    is report('fail', $task, error => { code => 'hopeless' }, final => Mojo::JSON->true)->json->{state}, 'failed', 'final is final';
    is report('fail', $task, error => { code => 'hopeless' }, final => Mojo::JSON->true)->json->{state}, 'failed', 'said again';
};

subtest 'steps of a run' => sub {
    my $res = $hive->post('/api/v1/runs', $ada, { input => { who => 'Ada' }, on_failure => 'continue', steps => [
        { name => 'first', kind => 'step', input => { hello => '{{ inputs.who }}' } },
        { name => 'second', kind => 'step', depends_on => ['first'], input => { n => '{{ steps.first.result.n }}', text => 'n={{ steps.first.result.n }}' } },
        { name => 'third', kind => 'step', depends_on => ['first'], input => { n => '{{ steps.first.result.nothing }}' } },
    ] });
    is $res->code, 201, 'made' or diag $res->body;
    my ($first, @none) = claim('step', max => 10);
    is @none, 0, 'the first step alone';
    is_deeply $first->{input}, { hello => 'Ada' }, 'its input quotes that of the run';
    is $first->{step}, 'first', 'and tells the step';
    my $waits = claim_later(kinds => ['step'], max => 10, wait_ms => 10000);
    later(0.2)->then(sub { report('complete', $first, result => { n => [1, 2] }) })->wait;
    my $got = done($waits);
    my ($second, @more) = @{ $got->[1]->json->{tasks} };
    is @more, 0, 'one that cannot be filled in is not handed out';
    is_deeply $second->{input}, { n => [1, 2], text => 'n=[1,2]' }, 'the other quotes the result' or diag $got->[1]->body;
    report('complete', $second);
    my $run = $res->json->{id};
    is $hive->psql("select state || ' ' || (error->>'code') from cell0.task_history where run_id = '$run' and step = 'third'"),
        'failed template_error', 'it has failed';
    is $hive->get("/api/v1/runs/$run", $ada)->json->{state}, 'failed', 'and so has the run';
};

subtest 'cancel and pause' => sub {
    my $id = add('stops');
    my ($task) = claim('stops', lease_ms => 2000);
    is $hive->post("$base/$id/cancel", $ada)->code, 202, 'asked to cancel';
    ok report('heartbeat', $task)->json->{cancel_requested}, 'a heartbeat tells';
    is report('fail', $task, error => { code => 'stopped' })->json->{state}, 'cancelled', 'who stops then is cancelled';
    is report('fail', $task, error => { code => 'stopped' })->json->{state}, 'cancelled', 'said again';

    $id = add('stops');
    ($task) = claim('stops');
    is $hive->post("$base/$id/cancel", $ada)->code, 202, 'asked to cancel';
    is report('complete', $task)->json->{state}, 'succeeded', 'who is done already has succeeded';

    $id = add('stops');
    ($task) = claim('stops', lease_ms => 60000);
    is $hive->post("$base/$id/cancel", $ada)->code, 202, 'asked to cancel';
    my $began = time;
    ok $hive->wait_for(10, sub { report('heartbeat', $task); row($id, 'state') eq 'cancelled' }), 'who ignores it loses it';
    ok time - $began < 6, 'after the grace';

    $id = add('stops');
    ($task) = claim('stops');
    is $hive->post("$base/$id/pause", $ada)->code, 202, 'asked to pause';
    ok report('heartbeat', $task)->json->{pause_requested}, 'pause, too';
    is report('fail', $task, error => { code => 'stopped' })->json->{state}, 'paused', 'who stops then is paused';
    is row($id, 'attempt - attempt_base'), 0, 'which is no attempt';
};

subtest 'progress' => sub {
    my $id = add('steps');
    my ($task) = claim('steps', lease_ms => 5000);
    is report('progress', $task, progress => 0, message => 'begun', counters => { n => 0 })->code, 200, 'the first is written';
    my $began = time;
    my %codes;
    for (1 .. 100) {
        $codes{ report('progress', $task, progress => $_ / 200, message => "at $_", counters => { n => $_ })->code }++;
    }
    my $took = time - $began;
    is join(' ', sort grep { !/^20[02]$/ } keys %codes), '', 'all are taken';
    ok $codes{202}, 'most are kept for later';
    ok $hive->wait_for(2, sub { row($id, 'progress_message') eq 'at 100' }), 'the last is written';
    is row($id, "progress || ' ' || (counters->>'n')"), '0.5 100', 'whole';
    my $events = row($id, 'progress_seq - progress_first + 1');
    # each of the two processes holds back on its own, and writes what it held each quarter of a second
    ok $events <= 8 * $took + 5, sprintf '%d events in %.2f s', $events, $took;

    sleep 0.3;
    report('progress', $task, message => 'third', progress => 0.6);
    report('progress', $task, message => $_) for qw(fourth fifth);
    report('progress', $task, progress => 1);
    is report('complete', $task)->code, 200, 'ends at once';
    ok $hive->wait_for(2, sub { row($id, 'progress') eq '1' }), 'what was said just before is not lost';
    is row($id, 'state'), 'succeeded', 'it has ended';

    add('steps.lease');
    ($task) = claim('steps.lease', lease_ms => 1000);
    for (1 .. 6) {
        sleep 0.4;
        report('progress', $task, progress => $_ / 10);
    }
    is row($task->{id}, "state || ' ' || attempt"), 'running 1', 'progress keeps the lease';
    report('complete', $task);
};

subtest 'a worker that is replaced' => sub {
    my @claims = map { claim_later(kinds => ['reload'], wait_ms => 20000) } 1 .. 6;
    later(0.3)->wait;
    my $began = time;
    kill HUP => $hive->worker_master;
    my @all;
    Mojo::Promise->all(@claims)->then(sub { @all = map { $_->[0] } @_ })->wait;
    ok time - $began < 10, 'lets waiting claims go';
    is scalar(grep { ($_->[1]->code // 0) == 200 } @all), 6, 'without a fault' or diag map { ($_->[1]->code // '') . $_->[1]->body } @all;
    ok $hive->wait_up(30), 'new ones serve';
    my $id = add('reload');
    my ($task) = claim('reload', wait_ms => 5000);
    is $task->{id}, $id, 'the next claim gets its task';
    report('complete', $task);
};

subtest 'too many that wait' => sub {
    my @claims = map { claim_later(kinds => ['crowd'], wait_ms => 3000) } 1 .. 80;
    my @all;
    Mojo::Promise->all(@claims)->then(sub { @all = map { $_->[0] } @_ })->wait;
    is scalar(grep { ($_->[1]->code // 0) == 200 } @all), 80, 'all are answered';
    my @refused = grep { $_->[1]->headers->header('Retry-After') } @all;
    my @waited = grep { $_->[0] > 2.5 } @all;
    ok @waited >= 16 && @waited <= 64, scalar(@waited) . ' may wait';
    ok @refused >= 16, scalar(@refused) . ' come again later';
};

# ---- the examples ----

sub example {
    my ($name) = @_;
    return Hive::Test::Process->start(
        name => $name, command => ["$Bin/../../conf/examples/$name"], log => $hive->dir . "/log/$name.log",
        env => { HIVE_URL => $hive->url, HIVE_TOKEN => $ada->{token} },
    );
}

# What the examples have in common, whatever their kind does.
sub try_example {
    my ($name, $kind, $good, $result, $bad, $long) = @_;
    my $runner = example($name);
    my $id = add($kind, input => $good);
    ok $hive->wait_for(15, sub { row($id, 'state') eq 'succeeded' }), 'runs a task' or diag $hive->log_tail($name);
    is_deeply $hive->get("$base/$id", $ada)->json->{result}, $result, 'with its result';

    $id = add($kind, input => $bad, max_attempts => 1);
    ok $hive->wait_for(15, sub { row($id, 'state') eq 'failed' }), 'fails one that cannot be done';

    $id = add($kind, input => $long);
    ok $hive->wait_for(10, sub { row($id, 'state') eq 'running' }), 'runs a long one';
    is $hive->post("$base/$id/cancel", $ada)->code, 202, 'asked to cancel';
    ok $hive->wait_for(15, sub { row($id, 'state') eq 'cancelled' }), 'obeys a cancel';

    $id = add($kind, input => $good);
    ok $hive->wait_for(10, sub { row($id, 'state') ne 'ready' }), 'has one in hand';
    is $runner->stop(TERM => 20), '', 'stops cleanly';
    is row($id, 'state'), 'succeeded', 'after the task in hand';
    return;
}

subtest 'runner.py' => sub {
    try_example('runner.py', 'count', { to => 3, each_ms => 200 }, { counted => 3 }, { too => 3 }, { to => 1000, each_ms => 1000 });
};

subtest 'runner.sh' => sub {
    try_example('runner.sh', 'shout', { text => 'be quiet', seconds => 1 }, { shouted => 'BE QUIET' }, { seconds => 0 },
        { text => 'x', seconds => 100 });
};

subtest 'a runner outlives what it talks to' => sub {
    my $runner = example('runner.py');
    sleep 1;
    $hive->{processes}{worker}->stop('TERM', 20);
    my $id = $hive->psql(<<"SQL");
        insert into cell0.tasks (id, owner_id, created_at, run_at, kind, state, turn, remote, input)
        values ('01900000-0000-7000-8001-000000000001', '$ada->{id}', now(), now(), 'count', 'ready', 1, true, '{"to": 1}')
        returning id
SQL
    Hive::Test::Tasks::queue($hive);
    sleep 2;
    $hive->start_worker;
    $hive->wait_ready;
    ok $hive->wait_for(30, sub { row($id, 'state') eq 'succeeded' }), 'runs again when there is somebody to ask';
    is $runner->stop(TERM => 20), '', 'stops cleanly';
};

$hive->stop;
done_testing;
