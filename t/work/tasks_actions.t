# tasks_actions.t: what people do with tasks: run, cancel, retry, pause, resume
# and delete them, one at a time, from every state, and two at once; and what a
# task tells of itself: its result, attempts and events.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Mojo::JSON qw(true false);
use Mojo::Promise;
use Test::More;

my $hive = Hive::Test->start(workers => 2, nginx_workers => 2, ini => { tasks => { cancel_grace => '1s' } });
my $ada = $hive->register;
my $base = '/api/v1/tasks';
my $serial = 0;

sub add {
    my (%o) = @_;
    my $res = $hive->post($base, $ada, { kind => 'test.' . ++$serial, %o });
    $res->code == 201 or die 'add: ' . $res->code . ' ' . $res->body;
    return $res->json;
}

sub act { $hive->post("$base/$_[0]{id}/$_[1]", $ada) }
sub now { $hive->get("$base/$_[0]{id}", $ada)->json }
sub code { ($_[0]->json // {})->{code} // '' }

sub claim { $hive->post("$base/claim", $ada, { kinds => [$_[0]{kind}] })->json->{tasks}[0] // die 'not claimed' }

sub report {
    my ($lease, $verb, %body) = @_;
    return $hive->post("$base/$lease->{id}/$verb", $ada, { lease_token => $lease->{lease_token}, %body });
}

sub finish {
    my ($task, %o) = @_;
    my $lease = claim($task);
    my $res = $o{error} ? report($lease, 'fail', error => $o{error}, final => true) : report($lease, 'complete', result => $o{result});
    die $res->body if $res->code >= 300;
    return $task;
}

# A task in each state.
my %in = (
    blocked => sub { add(depends_on => [add(paused => true)->{id}]) },
    scheduled => sub { add(run_at => '2040-01-01T00:00:00Z') },
    ready => sub { add() },
    running => sub { my $task = add(); claim($task); $task },
    paused => sub { add(paused => true) },
    succeeded => sub { finish(add(), result => { n => 1 }) },
    failed => sub { finish(add(), error => { code => 'bad', message => 'no' }) },
    cancelled => sub { my $task = add(); act($task, 'cancel'); $task },
    skipped => sub {
        my $first = add(paused => true);
        my $task = add(depends_on => [$first->{id}]);
        act($first, 'cancel');
        $task;
    },
);

# What each action does in each state: the status, the state after it, or the
# code of the problem.
my %table = (
    run => { blocked => [409, 'task_blocked'], scheduled => [200, 'ready'], ready => [200, 'ready'], running => [409, 'task_running'],
        paused => [409, 'task_paused'], map { $_ => [409, 'task_finished'] } qw(succeeded failed cancelled skipped) },
    cancel => { (map { $_ => [200, 'cancelled'] } qw(blocked scheduled ready paused cancelled)), running => [202, 'running'],
        map { $_ => [409, 'task_finished'] } qw(succeeded failed skipped) },
    retry => { (map { $_ => [409, 'task_not_finished'] } qw(blocked scheduled ready running paused)), succeeded => [409, 'task_finished'],
        failed => [200, 'ready'], cancelled => [200, 'ready'], skipped => [409, 'dependency_failed'] },
    pause => { (map { $_ => [200, 'paused'] } qw(blocked scheduled ready paused)), running => [202, 'running'],
        map { $_ => [409, 'task_finished'] } qw(succeeded failed cancelled skipped) },
    resume => { paused => [200, 'ready'], (map { $_ => [409, 'task_not_paused'] } qw(blocked scheduled ready running)),
        map { $_ => [409, 'task_finished'] } qw(succeeded failed cancelled skipped) },
);

for my $action (sort keys %table) {
    subtest $action => sub {
        for my $state (sort keys %in) {
            my $task = $in{$state}->();
            is now($task)->{state}, $state, "a task that is $state" or next;
            my ($status, $word) = @{ $table{$action}{$state} };
            my $res = act($task, $action);
            is $res->code, $status, "$action of it: $status";
            if ($status < 300) { is $res->json->{state}, $word, "then $word" }
            else {
                is code($res), $word, $word;
                is now($task)->{state}, $state, 'it stays';
            }
        }
        my $res = $hive->post("$base/018f0000-0000-7000-8000-000000000001/$action", $ada);
        is code($res), 'task_not_found', 'of none';
    };
}

subtest 'delete' => sub {
    for my $state (sort keys %in) {
        my $task = $in{$state}->();
        my $res = $hive->delete("$base/$task->{id}", $ada);
        if ($state eq 'running') {
            is $res->code, 409, 'what runs is not removed';
            is code($res), 'task_running', 'until it is cancelled';
            next;
        }
        is $res->code, 204, "a task that is $state";
        is $hive->get("$base/$task->{id}", $ada)->code, 404, 'is gone';
        is $hive->psql("select count(*) from cell0.task_attempts where task_id = '$task->{id}'"), 0, 'with its attempts';
        is $hive->delete("$base/$task->{id}", $ada)->code, 404, 'once';
    }
    my $task = $in{ready}->();
    is $hive->delete("$base/$task->{id}", $ada, undef, { 'If-Match' => '"7"' })->code, 412, 'not another version';
    is $hive->delete("$base/$task->{id}", $ada, undef, { 'If-Match' => '"1"' })->code, 204, 'but this one';
    $task = $in{failed}->();
    is $hive->delete("$base/$task->{id}", $ada, undef, { 'If-Match' => '"7"' })->code, 412, 'finished or not';
    my $first = add(paused => true);
    my $second = add(depends_on => [$first->{id}]);
    is $hive->delete("$base/$first->{id}", $ada)->code, 204, 'what others wait for';
    is now($second)->{state}, 'skipped', 'skips them';
    is $hive->psql("select count(*) from cell0.task_dependencies where child_id = '$second->{id}'"), 0, 'and leaves no edge';
};

subtest 'pause and resume keep the place' => sub {
    my $first = add(paused => true);
    my $blocked = add(depends_on => [$first->{id}]);
    act($blocked, 'pause');
    is act($blocked, 'resume')->json->{state}, 'blocked', 'blocked again';
    act($blocked, 'pause');
    act($first, 'resume');
    finish($first);
    is now($blocked)->{state}, 'paused', 'a paused task stays so when it is free';
    is act($blocked, 'resume')->json->{state}, 'ready', 'and is ready then';
    my $later = add(run_at => '2040-01-01T00:00:00Z');
    act($later, 'pause');
    is act($later, 'resume')->json->{state}, 'scheduled', 'scheduled again';
    my $sleep = add(kind => 'sleep', input => { ms => 20000 });
    ok $hive->wait_for(5, sub { now($sleep)->{state} eq 'running' }), 'one that runs here';
    is act($sleep, 'pause')->code, 202, 'is asked to stop';
    ok $hive->wait_for(5, sub { now($sleep)->{state} eq 'paused' }), 'and pauses';
    like act($sleep, 'resume')->json->{state}, qr/^(?:ready|running)$/, 'goes on';
    ok $hive->wait_for(5, sub { now($sleep)->{state} eq 'running' }), 'and runs again';
    is act($sleep, 'cancel')->code, 202, 'is cancelled';
    ok $hive->wait_for(5, sub { now($sleep)->{state} eq 'cancelled' }), 'and ends';
};

subtest 'run wakes who runs it' => sub {
    my $noop = add(kind => 'noop', run_at => '2040-01-01T00:00:00Z');
    is now($noop)->{state}, 'scheduled', 'for later';
    is act($noop, 'run')->code, 200, 'now';
    ok $hive->wait_for(5, sub { now($noop)->{state} eq 'succeeded' }), 'and it runs';
};

subtest 'result' => sub {
    my $task = add();
    my $res = $hive->get("$base/$task->{id}/result", $ada);
    is $res->code, 404, 'none yet';
    is code($res), 'result_not_ready', 'not ready';
    finish($task, result => { answer => 42 });
    $res = $hive->get("$base/$task->{id}/result", $ada);
    is $res->code, 200, 'then';
    is_deeply [@{ $res->json }{qw(state result error)}], ['succeeded', { answer => 42 }, undef], 'what it came to';
    my $failed = $in{failed}->();
    $res = $hive->get("$base/$failed->{id}/result", $ada)->json;
    is $res->{state}, 'failed', 'or that it failed';
    is $res->{error}{code}, 'bad', 'and why';
    is code($hive->get("$base/018f0000-0000-7000-8000-000000000001/result", $ada)), 'task_not_found', 'of none';
};

subtest 'attempts and retry' => sub {
    my $task = add(max_attempts => 2, backoff_ms => 1);
    report(claim($task), 'fail', error => { code => 'e1', message => 'first' });
    ok $hive->wait_for(5, sub { now($task)->{state} eq 'ready' }), 'tried again';
    report(claim($task), 'fail', error => { code => 'e2', message => 'second' });
    is now($task)->{state}, 'failed', 'out of attempts';
    my $list = sub { $hive->get("$base/$task->{id}/attempts?limit=$_[0]" . ($_[1] // ''), $ada)->json };
    is_deeply [map { "$_->{attempt} $_->{outcome} $_->{error}{code}" } @{ $list->(10)->{items} }], ['1 failed e1', '2 failed e2'], 'every error is kept';
    my $part = $list->(1);
    is $part->{next_cursor}, '1', 'page by page';
    is $list->(1, "&cursor=$part->{next_cursor}")->{items}[0]{attempt}, 2, 'the next';
    my $was = now($task);
    my $res = act($task, 'retry');
    is $res->json->{state}, 'ready', 'retried by hand';
    is $res->json->{error}, undef, 'anew';
    cmp_ok $res->json->{version}, '>', $was->{version}, 'a new version';
    my $lease = claim($task);
    is $list->(10)->{items}[2]{outcome}, 'running', 'the attempt that runs';
    is $lease->{attempt}, 3, 'counts on';
    report($lease, 'fail', error => { code => 'e3', message => 'third' });
    isnt now($task)->{state}, 'failed', 'with a budget of its own';
    ok $hive->wait_for(5, sub { now($task)->{state} eq 'ready' }), 'and again';
    report(claim($task), 'complete');
    is_deeply [map { $_->{outcome} } @{ $list->(10)->{items} }], [qw(failed failed failed succeeded)], 'the one that succeeded too';
    is $hive->get("$base/$task->{id}/attempts?cursor=x", $ada)->code, 400, 'a cursor that is none';
    is $hive->get("$base/$task->{id}/attempts?colour=x", $ada)->code, 422, 'an unknown parameter';
    is $hive->get("$base/$task->{id}/attempts?limit=0", $ada)->code, 422, 'a limit that is none';
};

subtest 'events' => sub {
    my $task = add(run_at => '2040-01-01T00:00:00Z');
    act($task, 'run');
    act($task, 'pause');
    act($task, 'resume');
    $hive->patch("$base/$task->{id}", $ada, { title => 'T' });
    finish($task, error => { code => 'bad', message => 'no' });
    act($task, 'retry');
    act($task, 'cancel');
    my $events = $hive->get("$base/$task->{id}/events?limit=100", $ada)->json->{items};
    is_deeply [map { $_->{type} =~ s/^task\.//r } @$events], [qw(created ready paused resumed updated running failed retrying cancelled)], 'its whole life';
    is_deeply [map { $_->{offset} } @$events], [1 .. @$events], 'without a gap';
    my $page = $hive->get("$base/$task->{id}/events?limit=2&cursor=3", $ada)->json;
    is_deeply [map { $_->{offset} } @{ $page->{items} }], [4, 5], 'from a place on';
    is $page->{next_cursor}, '5', 'and on';
};

subtest 'retry brings back who was skipped' => sub {
    my $top = add();
    my $other = add(paused => true);
    my $left = add(depends_on => [$top->{id}]);
    my $right = add(depends_on => [$top->{id}, $other->{id}]);
    my $below = add(depends_on => [$left->{id}]);
    my $brave = add(depends_on => [$top->{id}, $other->{id}], on_dependency_failure => 'run');
    finish($top, error => { code => 'bad', message => 'no' });
    is now($_)->{state}, 'skipped', 'skipped' for $left, $right, $below;
    is now($brave)->{state}, 'blocked', 'but not who runs however they end';
    is code(act($left, 'retry')), 'dependency_failed', 'not without what it waits for';
    is act($top, 'retry')->json->{state}, 'ready', 'that one first';
    is now($_)->{state}, 'blocked', 'then they wait again' for $left, $right, $below, $brave;
    is $hive->psql("select string_agg(deps_left::text, ',' order by id) from cell0.tasks where id in ('$left->{id}','$right->{id}','$below->{id}','$brave->{id}')"),
        '1,2,1,2', 'each for what is not finished';
    finish($top);
    is now($left)->{state}, 'ready', 'and one is free';
    finish($left);
    is now($below)->{state}, 'ready', 'and the next';
    act($other, 'resume');
    finish($other);
    is now($_)->{state}, 'ready', 'and the last' for $right, $brave;

    my ($a, $b) = (add(), add());
    my $both = add(depends_on => [$a->{id}, $b->{id}]);
    finish($_, error => { code => 'bad', message => 'no' }) for $a, $b;
    is now($both)->{state}, 'skipped', 'after two failures';
    act($a, 'retry');
    is now($both)->{state}, 'skipped', 'the other one still stands in its way';
    act($b, 'retry');
    is now($both)->{state}, 'blocked', 'until that is retried too';
    finish($_) for $a, $b;
    is now($both)->{state}, 'ready', 'and both succeed';

    my $again = add(unique_key => 'again');
    finish($again, error => { code => 'bad', message => 'no' });
    add(kind => $again->{kind}, unique_key => 'again');
    is code(act($again, 'retry')), 'duplicate_task', 'not when another has its key now';
};

subtest 'tasks of a run' => sub {
    my $made = $hive->post('/api/v1/runs', $ada, { on_failure => 'skip', steps => [{ name => 'a', kind => 'test.ra' }, { name => 'b', kind => 'test.rb', depends_on => ['a'] },
        { name => 'c', kind => 'test.rc' }] });
    is $made->code, 201, 'a run of three' or diag $made->body;
    my $run = $made->json;
    my %step = map { $_->{step} => $_ } @{ $hive->get("$base?run_id=$run->{id}", $ada)->json->{items} };
    is_deeply [sort keys %step], [qw(a b c)], 'listed by their run';
    my $counts = sub { my $r = $hive->get("/api/v1/runs/$run->{id}", $ada)->json; $r->{state} . ' ' . $hive->psql("select concat_ws(',', total_n, left_n, succeeded_n, failed_n, cancelled_n, skipped_n) from cell0.runs where id = '$run->{id}'") };
    is code($hive->delete("$base/$step{c}{id}", $ada)), 'run_not_finished', 'none is deleted while it runs';
    is act($step{c}, 'cancel')->code, 200, 'one is cancelled';
    is $counts->(), 'running 3,2,0,0,1,0', 'and counted';
    is code($hive->delete("$base/$step{c}{id}", $ada)), 'run_not_finished', 'still not deleted';
    finish($step{a}, error => { code => 'bad', message => 'no' });
    is $counts->(), 'failed 3,0,0,1,1,1', 'one fails, one is skipped, all have ended';
    is act($step{a}, 'retry')->json->{state}, 'ready', 'tried again';
    is now($step{b})->{state}, 'blocked', 'and who waits for it waits again';
    is $counts->(), 'running 3,2,0,0,1,0', 'and the run goes on';
    is act($step{c}, 'retry')->json->{state}, 'ready', 'the cancelled one too';
    finish($step{$_}) for qw(a b c);
    is $counts->(), 'succeeded 3,0,3,0,0,0', 'to its end';
    is $hive->delete("$base/$step{c}{id}", $ada)->code, 204, 'now one may go';
};

subtest 'two at once' => sub {
    my $both = sub {
        my ($one, $two) = @_;
        my @res;
        Mojo::Promise->all(map { my ($path, $body) = @$_;
            $hive->ua->post_p($hive->url($path), { Authorization => "Bearer $ada->{token}" }, $body ? (json => $body) : ())
        } $one, $two)->then(sub { @res = map { $_->[0]->res } @_ })->wait;
        return @res;
    };
    my (%cancel, %retry, %race);
    for (1 .. 10) {
        my $task = add();
        my $path = "$base/$task->{id}/cancel";
        $cancel{ join ',', sort map { $_->code } $both->([$path], [$path]) }++;
        $path = "$base/$task->{id}/retry";
        my @res = $both->([$path], [$path]);
        $retry{ join ',', sort map { $_->code } @res }++;
        is $hive->psql("select count(*) from cell0.all_tasks where id = '$task->{id}'"), 1, 'it is there once' if $_ == 10;

        $task = add();
        my $lease = claim($task);
        @res = $both->(["$base/$task->{id}/cancel"], ["$base/$task->{id}/complete", { lease_token => $lease->{lease_token} }]);
        $race{ join ',', map { $_->code } @res }++;
        my $state = now($task)->{state};
        ok $state eq 'succeeded' || $state eq 'cancelled', "it ends once, $state" or diag explain \@res;
    }
    is_deeply [keys %cancel], ['200,200'], 'two cancels are one' or diag explain \%cancel;
    is_deeply [keys %retry], ['200,409'], 'one of two retries' or diag explain \%retry;
    diag 'cancel, complete: ' . join '; ', map { "$_ x $race{$_}" } sort keys %race;
    is $hive->psql("select count(*) from cell0.tasks t join cell0.task_history h using (id)"), 0, 'nothing is in both tables';
};

$hive->stop;
done_testing;
