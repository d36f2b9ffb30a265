# runs.t: a run is its tasks: they begin when what they wait for has ended,
# end as the policy says, are counted without a gap, and what did not succeed
# can be tried again.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Mojo::JSON qw(true false);
use Mojo::Promise;
use Test::More;
use Time::HiRes qw(time sleep);

my $hive = Hive::Test->start(workers => 2, nginx_workers => 1);
my $ada = $hive->register;
my $eve = $hive->register;
my $base = '/api/v1/runs';

sub step { my ($name, $needs, %more) = @_; return { name => $name, kind => 'noop', $needs ? (depends_on => $needs) : (), %more } }
sub failing { my ($name, $needs, %more) = @_; return step($name, $needs, kind => 'sleep', input => { ms => 0, fail => 99 }, max_attempts => 1, %more) }
# run by hand, through claim, complete and fail
sub manual { my ($name, $needs, %more) = @_; return step($name, $needs, kind => 'by.hand', max_attempts => 1, %more) }

sub begin {
    my ($steps, %more) = @_;
    my $res = $hive->post($base, $ada, { steps => $steps, %more });
    is $res->code, 201, 'begun' or diag $res->body;
    return $res->json->{id};
}

sub get { return $hive->get("$base/$_[0]", $ada)->json }

sub ended {
    my ($run, $seconds) = @_;
    my $row;
    $hive->wait_for($seconds // 15, sub { $row = get($run); $row->{state} ne 'running' });
    return $row;
}

sub states {
    my ($run) = @_;
    return { map { $_->{step} // $_->{title} => $_->{state} } @{ $hive->get("$base/$run/tasks?limit=100", $ada)->json->{items} } };
}

sub counters { my ($row) = @_; return join ' ', map { "$_=$row->{$_}" } grep { $row->{$_} } qw(total left succeeded failed cancelled skipped) }

# The counters of a run are what its tasks say.
sub sound {
    my ($run) = @_;
    my $wrong = $hive->psql(<<"SQL");
select r.id from cell0.runs r left join lateral (
    select count(*) as total, count(*) filter (where state not in ('succeeded','failed','cancelled','skipped')) as left_n,
           count(*) filter (where state = 'succeeded') as succeeded, count(*) filter (where state = 'failed') as failed,
           count(*) filter (where state = 'cancelled') as cancelled, count(*) filter (where state = 'skipped') as skipped
    from cell0.all_tasks t where t.run_id = r.id) c on true
where r.id = '$run' and (r.total_n, r.left_n, r.succeeded_n, r.failed_n, r.cancelled_n, r.skipped_n)
    is distinct from (c.total, c.left_n, c.succeeded, c.failed, c.cancelled, c.skipped)
SQL
    is $wrong, '', 'the counters are right';
    is $hive->psql(qq{select sum("offset" - coalesce(first, "offset") + 1) - max("offset") from cell0.run_events('$run')}), 0, 'events without a gap';
    return;
}

# One task of kind by.hand, and the token of its lease.
sub claim {
    my ($kind) = @_;
    my $res = $hive->post('/api/v1/tasks/claim', $ada, { kinds => [$kind // 'by.hand'], max => 1, wait_ms => 5000 });
    my $task = $res->json->{tasks}[0];
    return ($task, $task->{lease_token});
}

subtest 'in order' => sub {
    my $run = begin([step('join', [map { "m$_" } 1 .. 10]), (map { step("m$_", ['root']) } 1 .. 10), step('root')], name => 'Fan', input => { a => 1 });
    my $row = ended($run);
    is $row->{state}, 'succeeded', 'succeeded';
    is counters($row), 'total=12 succeeded=12', 'all of it';
    is $row->{progress}, 1, 'progress';
    is $row->{name}, 'Fan', 'name';
    is_deeply $row->{input}, { a => 1 }, 'input';
    is_deeply [keys %{ $row->{output} }], ['join'], 'output of the step that nobody waits for';
    ok $row->{finished_at}, 'since when';
    is $hive->psql(<<"SQL"), 0, 'none began before what it waits for had ended';
select count(*) from cell0.task_dependencies d join cell0.task_history p on p.id = d.parent_id
join cell0.task_history c on c.id = d.child_id where c.run_id = '$run' and c.started_at < p.finished_at
SQL
    sound($run);
    my $events = $hive->get("$base/$run/events", $ada)->json;
    is $events->{items}[0]{type}, 'run.created', 'the first event';
    is $events->{items}[-1]{type}, 'run.succeeded', 'and the last';
    my $one = $hive->get("$base/$run/events?limit=1", $ada)->json;
    is scalar @{ $one->{items} }, 1, 'in pages';
    is $hive->get("$base/$run/events?limit=1&cursor=$one->{next_cursor}", $ada)->json->{items}[0]{first}, 2, 'one after the other';
    is $hive->get("$base/$run/events?colour=red", $ada)->code, 422, 'nothing else is taken';
    is scalar @{ $hive->get("$base/$run/tasks?state=succeeded&limit=5", $ada)->json->{items} }, 5, 'its tasks, filtered';
    is $hive->get("$base/$run/tasks?run_id=$run", $ada)->code, 422, 'of no other run';
};

subtest 'templates' => sub {
    my $run = begin([
        manual('fetch', undef, input => { url => 'http://{{ inputs.host }}/{{ inputs.n }}', all => '{{ inputs }}', id => '{{ run.id }}' }),
        manual('parse', ['fetch'], input => { first => '{{ steps.fetch.result.items.0 }}', text => 'got {{ steps.fetch.result.items.1 }}',
            state => '{{ steps.fetch.state }}', n => '{{ inputs.n }}', plain => '\{{ steps.fetch.result }}' }),
        manual('last', ['parse'], input => { far => '{{ steps.fetch.result.trick }}', near => '{{ steps.parse.result }}' }),
    ], input => { host => 'sea', n => 7 });
    my ($task, $token) = claim();
    is_deeply $task->{input}, { url => 'http://sea/7', all => { host => 'sea', n => 7 }, id => $run }, 'the input of the run'
        or diag explain $task;
    is $hive->post("/api/v1/tasks/$task->{id}/complete", $ada,
        { lease_token => $token, result => { items => [{ a => true }, 'two'], trick => '{{ run.id }}' } })->code, 200, 'done';
    ($task, $token) = claim();
    is_deeply $task->{input}, { first => { a => true }, text => 'got two', state => 'succeeded', n => 7, plain => '{{ steps.fetch.result }}' },
        'the result of the step before' or diag explain $task;
    $hive->post("/api/v1/tasks/$task->{id}/complete", $ada, { lease_token => $token, result => [1] });
    ($task, $token) = claim();
    is_deeply $task->{input}, { far => '{{ run.id }}', near => [1] }, 'of the one before that, which is only data';
    $hive->post("/api/v1/tasks/$task->{id}/complete", $ada, { lease_token => $token, result => 'end' });
    is_deeply ended($run)->{output}, { last => 'end' }, 'output';

    $run = begin([step('a'), step('b', ['a'], input => { x => '{{ steps.a.result.nothing }}' })]);
    my $row = ended($run);
    is $row->{state}, 'failed', 'a path that leads nowhere fails the step';
    is $hive->psql("select error->>'code' from cell0.task_history where run_id = '$run' and step = 'b'"), 'template_error', 'with template_error';
    is $hive->psql("select attempt from cell0.task_history where run_id = '$run' and step = 'b'"), 1, 'at once';

    $run = begin([failing('a'), step('b', ['a'], kind => 'by.hand', on_dependency_failure => 'run', input => { why => '{{ steps.a.error.code }} {{ steps.a.state }}' })],
        on_failure => 'skip');
    ($task, $token) = claim();
    like $task->{input}{why}, qr/^\w+ failed$/, 'how another failed';
    $hive->post("/api/v1/tasks/$task->{id}/complete", $ada, { lease_token => $token });
    is ended($run)->{state}, 'failed', 'the run has failed all the same';
};

subtest 'policies of failure' => sub {
    my @graph = (failing('bad'), step('behind', ['bad']), step('further', ['behind']), step('cleanup', ['further'], on_dependency_failure => 'run'),
        step('slow', undef, kind => 'sleep', input => { ms => 300 }), step('other', ['slow']));
    my $run = begin(\@graph, on_failure => 'skip');
    my $row = ended($run);
    is $row->{state}, 'failed', 'skip: failed';
    is_deeply states($run), { bad => 'failed', behind => 'skipped', further => 'skipped', cleanup => 'succeeded', slow => 'succeeded', other => 'succeeded' },
        'what waits for it is skipped, the rest goes on';
    sound($run);

    $run = begin(\@graph, on_failure => 'continue');
    is ended($run)->{state}, 'failed', 'continue: failed';
    is_deeply states($run), { bad => 'failed', behind => 'succeeded', further => 'succeeded', cleanup => 'succeeded', slow => 'succeeded', other => 'succeeded' },
        'all the rest goes on';
    sound($run);

    my $time = time;
    $run = begin([failing('bad'), step('behind', ['bad']), step('slow', undef, kind => 'sleep', input => { ms => 20000 }), step('other', ['slow'])]);
    is ended($run)->{state}, 'failed', 'fail_fast: failed';
    ok time - $time < 10, 'soon';
    is_deeply states($run), { bad => 'failed', behind => 'skipped', slow => 'cancelled', other => 'cancelled' }, 'and the rest is cancelled'
        or diag explain states($run);
    sound($run);
};

subtest 'cancel' => sub {
    my $run = begin([step('slow', undef, kind => 'sleep', input => { ms => 20000 }), step('next', ['slow']), step('last', ['next'])]);
    $hive->wait_for(5, sub { states($run)->{slow} eq 'running' });
    my $res = $hive->post("$base/$run/cancel", $ada);
    is $res->code, 200, 'asked';
    ok $res->json->{cancel_requested}, 'which it says';
    my $row = ended($run, 5);
    is $row->{state}, 'cancelled', 'cancelled';
    is counters($row), 'total=3 cancelled=3', 'all of it';
    is $hive->post("$base/$run/cancel", $ada)->code, 409, 'once it has ended it is too late';
    sound($run);

    $run = begin([manual('a'), map { step("b$_", ['a']) } 1 .. 1500]);
    $res = $hive->post("$base/$run/cancel", $ada);
    is $res->json->{state}, 'cancelled', 'nothing runs: at once';
    is counters($res->json), 'total=1501 cancelled=1501', 'in batches' ;
    sound($run);
};

subtest 'retry' => sub {
    my $run = begin([step('good'), manual('bad', ['good']), step('behind', ['bad']), step('further', ['behind'])], on_failure => 'skip');
    is $hive->post("$base/$run/retry", $ada)->code, 409, 'not while it runs';
    my ($task, $token) = claim();
    is $hive->post("/api/v1/tasks/$task->{id}/fail", $ada, { lease_token => $token, error => { code => 'no', message => 'not today' } })->code, 200, 'fails';
    my $row = ended($run);
    is counters($row), 'total=4 succeeded=1 failed=1 skipped=2', 'failed';
    my $started = $hive->psql("select started_at from cell0.task_history where run_id = '$run' and step = 'good'");

    my @both = map { $hive->ua->post_p($hive->url("$base/$run/retry") => { Authorization => "Bearer $ada->{token}" }) } 1 .. 2;
    my @codes;
    Mojo::Promise->all(@both)->then(sub { @codes = sort map { $_->[0]->res->code } @_ })->wait;
    is_deeply \@codes, [200, 409], 'two at once: one retries';
    $row = get($run);
    is counters($row), 'total=4 left=3 succeeded=1', 'what did not succeed is left';
    is $row->{state}, 'running', 'it runs';
    is $row->{finished_at}, undef, 'and has not ended';
    sound($run);
    ($task, $token) = claim();
    $hive->post("/api/v1/tasks/$task->{id}/complete", $ada, { lease_token => $token });
    is counters(ended($run)), 'total=4 succeeded=4', 'and succeeds';
    is $hive->psql("select started_at from cell0.task_history where run_id = '$run' and step = 'good'"), $started, 'what had succeeded is not done again';
    is $hive->psql("select attempt from cell0.task_history where run_id = '$run' and step = 'bad'"), 2, 'attempts are counted on';
    is $hive->post("$base/$run/retry", $ada)->code, 409, 'nothing is left to retry';
    sound($run);

    $run = begin([manual('a'), step('b', ['a'])]);
    $hive->post("$base/$run/cancel", $ada);
    is $hive->post("$base/$run/retry", $ada)->json->{state}, 'running', 'a cancelled one';
    ($task, $token) = claim();
    $hive->post("/api/v1/tasks/$task->{id}/complete", $ada, { lease_token => $token });
    is ended($run)->{state}, 'succeeded', 'goes on too';
    sound($run);
};

subtest 'children' => sub {
    my $run = begin([manual('parent'), step('after', ['parent'], kind => 'noop')]);
    my ($task, $token) = claim();
    my $there = "/api/v1/tasks/$task->{id}/children";
    my $children = [map { { kind => 'by.child', title => "child $_" } } 1 .. 3];
    is $hive->post($there, $ada, { lease_token => '018f0000-0000-7000-8000-000000000001', tasks => $children })->code, 409, 'not with another lease';
    is $hive->post($there, $eve, { lease_token => $token, tasks => $children })->code, 404, 'not by a stranger';
    is $hive->post($there, $ada, { lease_token => $token, tasks => [] })->code, 422, 'not none';
    is $hive->post($there, $ada, { lease_token => $token, tasks => [{ kind => 'x', unique_key => 'k' }] })->json->{errors}[0]{field},
        'tasks[0].unique_key', 'nor with a key';
    my $res = $hive->post($there, $ada, { lease_token => $token, tasks => $children });
    is $res->code, 201, 'added' or diag $res->body;
    is scalar @{ $res->json->{items} }, 3, 'three';
    is counters(get($run)), 'total=5 left=5', 'counted';
    $hive->post("/api/v1/tasks/$task->{id}/complete", $ada, { lease_token => $token });
    is states($run)->{after}, 'blocked', 'who waits for the parent waits for them';
    sound($run);
    for (1 .. 3) {
        my ($child, $lease) = claim('by.child');
        is $hive->get("/api/v1/tasks/$child->{id}", $ada)->json->{parent_id}, $task->{id}, 'of that parent';
        is states($run)->{after}, 'blocked', 'and for each';
        $hive->post("/api/v1/tasks/$child->{id}/complete", $ada, { lease_token => $lease });
    }
    my $row = ended($run);
    is counters($row), 'total=5 succeeded=5', 'then it ends';
    sound($run);
    is $hive->post($there, $ada, { lease_token => $token, tasks => $children })->code, 409, 'a parent that has ended adds none';

    my $alone = $hive->post('/api/v1/tasks', $ada, { kind => 'by.hand' })->json->{id};
    ($task, $token) = claim();
    is $task->{id}, $alone, 'a task of no run';
    is $hive->post("/api/v1/tasks/$alone/children", $ada, { lease_token => $token, tasks => [{ kind => 'noop' }] })->code, 201, 'has children too';
};

subtest 'races' => sub {
    # cancelled while its tasks end: it ends, and is counted right
    my @runs = map { begin([map({ step("a$_") } 1 .. 20), step('join', [map { "a$_" } 1 .. 20])]) } 1 .. 10;
    my @all = map { $hive->ua->post_p($hive->url("$base/$_/cancel") => { Authorization => "Bearer $ada->{token}" }) } @runs;
    Mojo::Promise->all(@all)->wait;
    for my $run (@runs) {
        my $row = ended($run);
        like $row->{state}, qr/^(?:cancelled|succeeded)$/, "one is $row->{state}";
        sound($run);
    }

    # children added while their parent ends: either it is too late, or they
    # are waited for
    my $auth = { Authorization => "Bearer $ada->{token}" };
    my %seen;
    for my $round (1 .. 20) {
        my $run = begin([manual('parent'), step('after', ['parent'])]);
        my ($task, $token) = claim();
        my @posts = (
            [children => { lease_token => $token, tasks => [map { { kind => 'noop' } } 1 .. 3] }],
            [complete => { lease_token => $token }],
        );
        @posts = reverse @posts if $round % 2;
        my @codes;
        Mojo::Promise->all(map { my $post = $_; $hive->ua->post_p($hive->url("/api/v1/tasks/$task->{id}/$post->[0]") => $auth => json => $post->[1])
            ->then(sub { push @codes, "$post->[0] " . $_[0]->res->code }) } @posts)->wait;
        my $row = ended($run);
        my ($added) = grep { /children/ } @codes;
        $seen{$added}++;
        my $want = $added eq 'children 201' ? 5 : 2;
        is counters($row), "total=$want succeeded=$want", "round $round: $added" or diag "@codes";
        next if $want == 2;
        is $hive->psql(<<"SQL"), 0, 'who waits for the parent waited for them';
select count(*) from cell0.task_history c, cell0.task_history a
where c.run_id = '$run' and c.parent_id is not null and a.run_id = c.run_id and a.step = 'after' and a.started_at < c.finished_at
SQL
    }
    is join(' ', grep { !/^children (?:201|409)$/ } keys %seen), '', 'nothing else comes of it';

    # cancelled and tried again at once, over and over
    my $run = begin([map({ step("a$_", undef, kind => 'sleep', input => { ms => 5 }) } 1 .. 10), step('join', [map { "a$_" } 1 .. 10])]);
    for my $round (1 .. 10) {
        my @codes;
        Mojo::Promise->all(map { $hive->ua->post_p($hive->url("$base/$run/$_") => $auth)->then(sub { push @codes, $_[0]->res->code }) } qw(cancel retry cancel retry))
            ->wait;
        is join(' ', grep { !/^(?:200|409)$/ } @codes), '', "round $round: done or refused";
    }
    ended($run);
    sound($run);
    $hive->post("$base/$run/retry", $ada);
    is ended($run)->{state}, 'succeeded', 'and it can still succeed';
    sound($run);
};

subtest 'lists and strangers' => sub {
    my $list = $hive->get("$base?state=succeeded,failed&limit=3&count=true", $ada)->json;
    is scalar @{ $list->{items} }, 3, 'in pages';
    ok $list->{total} > 5, 'counted';
    ok !exists $list->{items}[0]{input}, 'without input';
    is $hive->get("$base?state=perhaps", $ada)->code, 422, 'no such state';
    is $hive->get("$base?colour=red", $ada)->code, 422, 'no such filter';
    my $run = $list->{items}[0]{id};
    is $hive->get("$base/$run", $eve)->code, 404, 'a stranger sees nothing';
    is $hive->get("$base/$run/$_", $eve)->code, 404, "nor its $_" for qw(tasks events);
    is $hive->post("$base/$run/$_", $eve)->code, 404, "and cannot $_ it" for qw(cancel retry);
    is_deeply $hive->get($base, $eve)->json->{items}, [], 'nor find it';
    is $hive->get("$base/$run")->code, 401, 'nobody without a token';
};

subtest 'large' => sub {
    my $n = 10000;
    my $time = time;
    my $run = begin([(map { step("s$_") } 1 .. $n), step('join', [map { "s$_" } 1 .. $n])]);
    my $made = time - $time;
    my $row = ended($run, 60);
    is counters($row), 'total=10001 succeeded=10001', 'a join of 10,000';
    diag sprintf 'made in %.2f s, ended after %.2f s', $made, time - $time;
    is $hive->post($base, $ada, { steps => [map { step("s$_") } 1 .. 20001] })->code, 422, 'more than 20,000 are refused';
};

$hive->stop;
done_testing;
