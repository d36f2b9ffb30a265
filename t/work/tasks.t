# tasks.t: tasks are made, found, read and changed by their owner, and nobody
# else knows of them. Kinds here are those of no worker: nothing runs unless
# the test runs it.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Mojo::JSON qw(decode_json encode_json true false);
use Test::More;

my $hive = Hive::Test->start(workers => 2, nginx_workers => 2);
my $ada = $hive->register;
my $eve = $hive->register;
my $base = '/api/v1/tasks';

sub add {
    my ($user, %o) = @_;
    my $res = $hive->post($base, $user, { kind => 'test.a', %o });
    $res->code == 201 or die 'add: ' . $res->code . ' ' . $res->body;
    return $res->json;
}

sub items { $hive->get("$base?$_[0]", $_[1] // $ada)->json->{items} }
sub code { ($_[0]->json // {})->{code} // '' }

# Claims by kind and ends as it is told: complete or fail.
sub work {
    my ($user, $kind, $verb, %body) = @_;
    my $task = $hive->post("$base/claim", $user, { kinds => [$kind] })->json->{tasks}[0] or die "no $kind";
    my $res = $hive->post("$base/$task->{id}/$verb", $user, { lease_token => $task->{lease_token}, %body });
    die 'work: ' . $res->code . ' ' . $res->body if $res->code >= 300;
    return $task->{id};
}

my $task;
subtest 'create' => sub {
    my %given = (
        kind => 'test.a', title => "Caf\x{e9} \x{1f600}", description => 'A "quoted" \\ text', input => { list => [1, 2.5, true, undef], deep => { a => 'b' } },
        labels => ['nightly', "\x{fc}ber"], priority => 'high', timeout_ms => 5000, backoff_ms => 10, max_attempts => 3,
        deadline_at => '2040-01-01T00:00:00Z',
    );
    my $res = $hive->post($base, $ada, \%given);
    is $res->code, 201, 'created';
    $task = $res->json;
    like $task->{id}, qr/^[0-9a-f]{8}-[0-9a-f]{4}-7/, 'a UUIDv7';
    is $res->headers->location, "$base/$task->{id}", 'Location';
    is $res->headers->etag, '"1"', 'ETag';
    my $read = $hive->get("$base/$task->{id}", $ada);
    is $read->code, 200, 'there';
    is_deeply $read->json, $task, 'GET says what POST said';
    is_deeply $task->{$_}, $given{$_}, $_ for qw(kind title description input labels timeout_ms backoff_ms max_attempts);
    is $task->{priority}, 7, 'high is 7';
    is $task->{state}, 'ready', 'ready';
    is $task->{deadline_at}, '2040-01-01T00:00:00.000Z', 'deadline';
    is $task->{run_at}, $task->{created_at}, 'runs at once';
    is $hive->psql("select type from cell0.task_events('$task->{id}')"), 'task.created', 'and its event';
};

subtest 'defaults and first states' => sub {
    my $plain = add($ada);
    is_deeply $plain->{input}, {}, 'no input is an empty object';
    is $plain->{priority}, 5, 'priority 5';
    is $plain->{max_attempts}, 5, 'five attempts';
    is $plain->{$_}, undef, "no $_" for qw(project_id run_id parent_id step deadline_at timeout_ms unique_key limit_key result error progress);
    is add($ada, run_at => '2040-01-01T00:00:00+02:00')->{state}, 'scheduled', 'later is scheduled';
    is add($ada, run_at => '2001-01-01T00:00:00Z')->{state}, 'ready', 'in the past is ready';
    is add($ada, paused => true)->{state}, 'paused', 'paused';
    is add($ada, priority => 0)->{priority}, 0, 'priority by number';
    is_deeply [map { add($ada, priority => $_)->{priority} } qw(critical high medium low)], [9, 7, 5, 2], 'and by name';
    my $project = $hive->post('/api/v1/projects', $ada, { name => 'P' })->json;
    is add($ada, project_id => $project->{id})->{project_id}, $project->{id}, 'of a project';
    my $res = $hive->post($base, $eve, { kind => 'x', project_id => $project->{id} });
    is $res->code, 422, "not of another's project";
    is code($res), 'project_not_found', 'which is absent';
};

subtest 'what is wrong is said' => sub {
    my $check = sub {
        my ($body, $field, $code) = @_;
        my $res = $hive->post($base, $ada, { kind => 'x', %$body });
        is $res->code, 422, encode_json($body) =~ s/^(.{60}).*/$1.../r;
        is $res->json->{errors}[0]{field}, $field, "names $field";
        is $res->json->{errors}[0]{code}, $code, $code;
    };
    is $hive->post($base, $ada, {})->json->{errors}[0]{code}, 'required', 'a kind is required';
    $check->({ kind => 'a b' }, 'kind', 'invalid_value');
    $check->({ kind => 'x' x 201 }, 'kind', 'too_long');
    $check->({ kind => '' }, 'kind', 'too_short');
    $check->({ title => 'x' x 201 }, 'title', 'too_long');
    $check->({ description => 'x' x 10001 }, 'description', 'too_long');
    $check->({ input => [1] }, 'input', 'wrong_type');
    $check->({ input => { a => 'x' x 262144 } }, 'input', 'too_long');
    $check->({ labels => 'x' }, 'labels', 'wrong_type');
    $check->({ labels => [1 .. 21] }, 'labels', 'too_many');
    $check->({ labels => ['x' x 65] }, 'labels[0]', 'too_long');
    $check->({ priority => 10 }, 'priority', 'invalid_value');
    $check->({ priority => 'urgent' }, 'priority', 'invalid_value');
    $check->({ run_at => 'tomorrow' }, 'run_at', 'invalid_time');
    $check->({ run_at => '2040-01-02T00:00:00Z', deadline_at => '2040-01-01T00:00:00Z' }, 'deadline_at', 'invalid_value');
    $check->({ timeout_ms => 0 }, 'timeout_ms', 'too_small');
    $check->({ backoff_ms => 3600001 }, 'backoff_ms', 'too_large');
    $check->({ max_attempts => 101 }, 'max_attempts', 'too_large');
    $check->({ unique_key => '' }, 'unique_key', 'too_short');
    $check->({ on_duplicate => 'refuse' }, 'on_duplicate', 'invalid_value');
    $check->({ on_duplicate => 'explode' }, 'on_duplicate', 'invalid_value');
    $check->({ limit => 'x' }, 'limit', 'invalid_value');
    $check->({ limit => { key => 'x' } }, 'limit.max', 'required');
    $check->({ limit => { key => 'x', max => 0 } }, 'limit.max', 'too_small');
    $check->({ limit => { key => 'x', max => 1, min => 1 } }, 'limit', 'invalid_value');
    $check->({ paused => 1 }, 'paused', 'wrong_type');
    $check->({ on_dependency_failure => 'hope' }, 'on_dependency_failure', 'invalid_value');
    $check->({ project_id => 'x' }, 'project_id', 'invalid_uuid');
    $check->({ depends_on => ['x'] }, 'depends_on[0]', 'invalid_uuid');
    $check->({ depends_on => 'x' }, 'depends_on', 'wrong_type');
    $check->({ colour => 'red' }, 'colour', 'unknown_member');
    $check->({ state => 'ready' }, 'state', 'read_only');
    my $deep = {};
    $deep = { a => $deep } for 1 .. 40;
    $check->({ input => $deep }, 'input', 'too_deep');
    is scalar @{ $hive->post($base, $ada, { kind => '', title => 7, a => 1 })->json->{errors} }, 3, 'all faults at once';
};

subtest 'unique keys' => sub {
    my $first = add($ada, unique_key => 'one', title => 'first');
    my $res = $hive->post($base, $ada, { kind => 'test.a', unique_key => 'one', title => 'second' });
    is $res->code, 200, 'a duplicate is answered';
    is $res->json->{id}, $first->{id}, 'with what there is';
    is $res->json->{title}, 'first', 'as it is';
    $res = $hive->post($base, $ada, { kind => 'test.a', unique_key => 'one', on_duplicate => 'refuse' });
    is $res->code, 409, 'or refused';
    is code($res), 'duplicate_task', 'as a duplicate';
    $res = $hive->post($base, $ada, { kind => 'test.a', unique_key => 'one', on_duplicate => 'replace', title => 'third',
        priority => 9, input => { n => 3 }, labels => ['new'], run_at => '2040-01-01T00:00:00Z' });
    is $res->code, 200, 'or replaces it';
    my $now = $res->json;
    is $now->{id}, $first->{id}, 'the same task';
    is_deeply [@$now{qw(title priority input labels state)}], ['third', 9, { n => 3 }, ['new'], 'scheduled'], 'with the new content';
    is $now->{version}, 2, 'and a new version';
    isnt add($ada, unique_key => 'one', kind => 'test.b')->{id}, $first->{id}, 'a key is of a kind';
    isnt add($eve, unique_key => 'one')->{id}, $first->{id}, 'and of an owner';

    my $running = add($ada, kind => 'test.u', unique_key => 'run');
    my $claimed = $hive->post("$base/claim", $ada, { kinds => ['test.u'] })->json->{tasks}[0];
    is $hive->post($base, $ada, { kind => 'test.u', unique_key => 'run', on_duplicate => 'replace' })->code, 409, 'what runs is not replaced';
    is $hive->post($base, $ada, { kind => 'test.u', unique_key => 'run' })->code, 200, 'but returned';
    $hive->post("$base/$claimed->{id}/complete", $ada, { lease_token => $claimed->{lease_token} });
    isnt add($ada, kind => 'test.u', unique_key => 'run')->{id}, $running->{id}, 'once it has ended the key is free';
};

subtest 'many at once with one key' => sub {
    my @ids;
    my @promises = map {
        $hive->ua->post_p($hive->url($base), { Authorization => "Bearer $ada->{token}" }, json => { kind => 'test.race', unique_key => 'k' . ($_ % 2) })
            ->then(sub { push @ids, [$_[0]->res->code, $_[0]->res->json->{id}] })
    } 1 .. 24;
    Mojo::Promise->all(@promises)->wait;
    is scalar(grep { $_->[0] == 201 } @ids), 2, 'one of each is made';
    is scalar(grep { $_->[0] == 200 } @ids), 22, 'the others are answered with it';
    my %seen = map { $_->[1] => 1 } @ids;
    is scalar keys %seen, 2, 'two tasks in all';
};

subtest 'limit keys' => sub {
    my $made = add($ada, kind => 'test.l', limit => { key => 'gpu', max => 1 });
    is $made->{limit_key}, 'gpu', 'kept';
    is $hive->psql("select max from cell0.task_limits where key = 'gpu'"), 1, 'with its limit';
    add($ada, kind => 'test.l', limit => { key => 'gpu', max => 2 });
    is $hive->psql("select max from cell0.task_limits where key = 'gpu'"), 2, 'which the last one says';
    ok $hive->wait_for(5, sub { $hive->psql("select count(*) from cell0.tasks where limit_key = 'gpu' and limit_slot") == 2 }), 'and is granted';
};

subtest 'a stranger' => sub {
    my $there = "$base/$task->{id}";
    is $hive->get($there, $eve)->code, 404, 'cannot see it';
    is code($hive->get($there, $eve)), 'task_not_found', 'it is absent';
    is $hive->patch($there, $eve, { title => 'mine' })->code, 404, 'nor change it';
    is $hive->delete($there, $eve)->code, 404, 'nor delete it';
    is $hive->post("$there/$_", $eve)->code, 404, "nor $_ it" for qw(run cancel retry pause resume);
    is $hive->get("$there/$_", $eve)->code, 404, "nor see its $_" for qw(attempts events result dependencies);
    is $hive->post("$there/dependencies", $eve, { task_id => $task->{id} })->code, 409, 'nor link it to itself';
    my $own = add($eve);
    is $hive->post("$there/dependencies", $eve, { task_id => $own->{id} })->code, 404, 'nor make it wait';
    is $hive->post("$base/$own->{id}/dependencies", $eve, { task_id => $task->{id} })->code, 422, 'nor wait for it';
    is $hive->post($base, $eve, { kind => 'x', depends_on => [$task->{id}] })->code, 422, 'nor depend on it';
    is_deeply [grep { $_->{id} eq $task->{id} } @{ items('limit=100', $eve) }], [], 'nor find it';
    is $hive->get("$base/$task->{id}")->code, 401, 'and nobody without a token';
    is_deeply $hive->get($there, $ada)->json, $task, 'it is as it was';
};

subtest 'patch' => sub {
    my $there = "$base/$task->{id}";
    my $etag = $hive->get($there, $ada)->headers->etag;
    my $res = $hive->patch($there, $ada, { title => 'Renamed', labels => ['l1'], priority => 'low', input => { n => 1 }, max_attempts => 7,
        deadline_at => undef, timeout_ms => undef }, { 'If-Match' => $etag });
    is $res->code, 200, 'changed';
    my $now = $res->json;
    is_deeply [@$now{qw(title labels priority input max_attempts deadline_at timeout_ms)}], ['Renamed', ['l1'], 2, { n => 1 }, 7, undef, undef], 'as asked';
    is $now->{description}, $task->{description}, 'and nothing else';
    is $res->headers->etag, '"2"', 'a new ETag';
    $res = $hive->patch($there, $ada, { title => 'Again' }, { 'If-Match' => $etag });
    is $res->code, 412, 'not from a stale version';
    is code($res), 'version_mismatch', 'which is said';
    is $hive->patch($there, $ada, {})->code, 200, 'a patch of nothing';
    is $hive->patch($there, $ada, {}, { 'If-Match' => $etag })->code, 412, 'under the same conditions';
    $res = $hive->patch($there, $ada, { title => undef, description => undef, labels => undef, priority => undef, input => undef });
    is_deeply [@{ $res->json }{qw(title description labels priority input)}], ['', '', [], 5, {}], 'null is the default';
    is $hive->patch($there, $ada, { run_at => '2040-01-01T00:00:00Z' })->json->{state}, 'scheduled', 'to later';
    is $hive->patch($there, $ada, { run_at => undef })->json->{state}, 'ready', 'and back';
    $res = $hive->patch($there, $ada, { kind => 'other', unique_key => 'x', id => 7, nothing => 1 });
    is $res->code, 422, 'not all can be changed';
    is_deeply [sort map { "$_->{field} $_->{code}" } @{ $res->json->{errors} }],
        ['id read_only', 'kind read_only', 'nothing unknown_member', 'unique_key read_only'], 'and each is named';
    is $hive->psql(qq{select string_agg("offset"::text, ',' order by "offset") = string_agg(n::text, ',' order by n) from
        (select "offset", row_number() over (order by "offset") as n from cell0.task_events('$task->{id}')) e}), 't', 'offsets without a gap';

    add($ada, kind => 'test.p');
    my $claimed = $hive->post("$base/claim", $ada, { kinds => ['test.p'] })->json->{tasks}[0];
    $there = "$base/$claimed->{id}";
    $res = $hive->patch($there, $ada, { input => { a => 1 } });
    is $res->code, 409, 'the input stays while it runs';
    is code($res), 'task_running', 'which is why';
    is $hive->patch($there, $ada, { run_at => '2040-01-01T00:00:00Z' })->code, 409, 'and so does run_at';
    is $hive->patch($there, $ada, { title => 'still mine' })->json->{title}, 'still mine', 'the title may change';
    $hive->post("$there/complete", $ada, { lease_token => $claimed->{lease_token} });
    $res = $hive->patch($there, $ada, { title => 'late' });
    is code($res), 'task_finished', 'what has ended does not change';
};

subtest 'lists' => sub {
    my $bob = $hive->register;
    my $project = $hive->post('/api/v1/projects', $bob, { name => 'P' })->json;
    my @made = map { add($bob, kind => 'l.' . ($_ % 3), title => $_ % 2 ? "odd walrus $_" : "even heron $_", labels => [$_ % 2 ? 'odd' : 'even', 'all'],
        priority => $_ % 10, ($_ > 25 ? (run_at => '2040-01-01T00:00:00Z') : ()), ($_ <= 5 ? (project_id => $project->{id}) : ()))
    } 1 .. 30;
    work($bob, 'l.0', 'complete', result => { n => $_ }) for 1 .. 4;
    work($bob, 'l.1', 'fail', error => { code => 'bad', message => 'no' }, final => true) for 1 .. 2;

    my $page = $hive->get($base, $bob)->json;
    is scalar @{ $page->{items} }, 20, 'twenty at a time';
    is $page->{items}[0]{id}, $made[-1]{id}, 'the newest first';
    ok !exists $page->{items}[0]{input}, 'without what is long';
    my $rest = $hive->get("$base?cursor=$page->{next_cursor}", $bob)->json;
    is_deeply [map { $_->{id} } @{ $page->{items} }, @{ $rest->{items} }], [reverse map { $_->{id} } @made], 'all, in order, finished or not';
    is $rest->{next_cursor}, undef, 'no more';

    my (@walk, %states);
    my $cursor = '';
    for (1 .. 20) {
        my $part = $hive->get("$base?limit=4&sort=created_at$cursor", $bob)->json;
        push @walk, map { $_->{id} } @{ $part->{items} };
        $states{ $_->{state} }++ for @{ $part->{items} };
        last unless defined $part->{next_cursor};
        $cursor = "&cursor=$part->{next_cursor}";
    }
    is_deeply \@walk, [map { $_->{id} } @made], 'the oldest first, in pages of four';
    is_deeply \%states, { ready => 19, scheduled => 5, succeeded => 4, failed => 2 }, 'of all states';

    my $n = sub { scalar @{ items("limit=100&$_[0]", $bob) } };
    is $n->('state=ready'), 19, 'by state';
    is $n->('state=failed,succeeded'), 6, 'by several of them';
    is $n->('state=scheduled,failed'), 7, 'finished and not';
    is $n->('state=blocked'), 0, 'of which there is none';
    is $n->('kind=l.2'), 10, 'by kind';
    is $n->('kind=l.0&state=ready'), 4, 'by kind and state';
    is $n->('labels=odd'), 15, 'by label';
    is $n->('labels=odd,all'), 15, 'by all labels';
    is $n->('labels=odd,even'), 0, 'which must all be there';
    is $n->('priority=1,2'), 6, 'by priority';
    is $n->("project_id=$project->{id}"), 5, 'by project';
    is $n->("project_id=$project->{id}&state=succeeded,failed"), 3, 'and state';
    is $n->('run_id=018f0000-0000-7000-8000-000000000001'), 0, 'by run';
    is $n->('parent_id=018f0000-0000-7000-8000-000000000001'), 0, 'by parent';
    is $n->('step=x'), 0, 'by step';
    is $n->('q=walrus'), 15, 'by a word';
    is $n->('q=walr'), 15, 'or its beginning';
    is $n->('q=walrus 2'), 5, 'or both';
    is $n->('q=walrus&state=ready&labels=odd'), scalar(grep { $_->{state} eq 'ready' } @{ items('limit=100&q=walrus', $bob) }), 'all together';
    my $time = $made[9]{created_at};
    my @before = grep { $_->{created_at} lt $time } @made;
    my @after = grep { $_->{created_at} gt $time } @made;
    is $n->("created_before=$time"), scalar @before, 'before a time';
    is $n->("created_after=$time"), scalar @after, 'after it';
    is $n->('finished=true'), 6, 'that have ended';
    is $n->('run_after=2039-01-01T00:00:00Z'), 5, 'that run later';
    is $n->('cancel_requested=false'), 30, 'by a flag';
    my $counted = $hive->get("$base?count=true&limit=1&kind=l.0", $bob)->json;
    is $counted->{total}, 10, 'counted';

    for my $bad ('colour=red', 'sort=kind', 'sort=priority', 'limit=0', 'limit=101', 'cursor=x', 'state=done', 'state=ready&state=failed', 'run_id=7',
        'priority=x', 'created_after=yesterday', 'input=1', 'title=x')
    {
        my $res = $hive->get("$base?$bad", $bob);
        ok +($res->code == 422 || $res->code == 400), "$bad is refused" or diag $res->code, $res->body;
    }
    is $hive->get("$base?state=ready&cursor=$page->{next_cursor}", $bob)->code, 422, 'a cursor belongs to its filters';
    my $lines = $hive->get("$base?labels=all", $bob, undef, { Accept => 'application/x-ndjson' });
    my @rows = map { decode_json($_) } split /\n/, $lines->body;
    is scalar @rows, 30, 'as a stream of lines';
    is $rows[0]{id}, $made[-1]{id}, 'in the same order';

    my $counts = $hive->get("$base/counts", $bob)->json;
    is_deeply $counts->{states}, { blocked => 0, scheduled => 5, ready => 19, running => 0, paused => 0, succeeded => 4, failed => 2, cancelled => 0, skipped => 0 },
        'counts by state';
    is_deeply $counts->{kinds}{'l.0'}, { ready => 4, scheduled => 2 }, 'by kind, of those that are not finished' or diag explain $counts;
    is_deeply $counts->{capped}, [], 'none too many to count';
    is $hive->get("$base/counts?x=1", $bob)->code, 422, 'no parameters';
};

subtest 'Idempotency-Key' => sub {
    my $key = { 'Idempotency-Key' => 'task-1' };
    my $one = $hive->post($base, $ada, { kind => 'test.i' }, $key);
    my $two = $hive->post($base, $ada, { kind => 'test.i' }, $key);
    is $one->code, 201, 'made';
    is $two->code, 201, 'and once more';
    is $two->json->{id}, $one->json->{id}, 'the same';
    is $two->headers->header('Idempotency-Replayed'), 'true', 'from the store';
    is scalar @{ items('kind=test.i') }, 1, 'made once';
    is $hive->post($base, $ada, { kind => 'test.j' }, $key)->code, 422, 'a key is for one request';
    my $waiting = add($ada, kind => 'test.k', paused => true);
    my @made = map { $hive->post($base, $ada, { kind => 'test.k', depends_on => [$waiting->{id}], unique_key => 'u' }, { 'Idempotency-Key' => 'task-2' }) } 1, 2;
    is $made[1]->json->{id}, $made[0]->json->{id}, 'with everything that needs a transaction';
    my $claimed = $hive->post("$base/claim", $ada, { kinds => ['test.i'] })->json->{tasks};
    is scalar @$claimed, 1, 'and it can be claimed';
};

subtest 'a full queue' => sub {
    my $small = Hive::Test->start(workers => 1, nginx_workers => 1, ini => { tasks => { owner_max => 3 } });
    my $bob = $small->register;
    is $small->post($base, $bob, { kind => 'x' })->code, 201, "task $_" for 1 .. 3;
    my $res = $small->post($base, $bob, { kind => 'x' });
    is $res->code, 429, 'no more';
    is code($res), 'queue_full', 'the queue is full';
    ok $res->headers->header('Retry-After'), 'and says when to come again';
    is $small->post($base, $small->register, { kind => 'x' })->code, 201, 'another has room';
    my $id = $small->get($base, $bob)->json->{items}[0]{id};
    is $small->post("$base/$id/cancel", $bob)->code, 200, 'one goes';
    ok $small->wait_for(5, sub { $small->post($base, $bob, { kind => 'x' })->code == 201 }), 'and one more can come';
    $small->stop;
};

$hive->stop;
done_testing;
