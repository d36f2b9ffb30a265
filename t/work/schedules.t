# schedules.t: what recurs: a schedule fires at its times, in its time zone,
# once each, whichever process does it and whichever dies.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Mojo::JSON qw(true false);
use Test::More;
use Time::HiRes qw(time sleep);

my $hive = Hive::Test->start(workers => 2, nginx_workers => 1);
my $ada = $hive->register;
my $eve = $hive->register;
my $base = '/api/v1/schedules';
my $task = { kind => 'nobody.runs.this', title => 'Sweep' };

sub make {
    my (%o) = @_;
    my $res = $hive->post($base, $ada, { name => 's', cron => '0 0 1 1 *', task => $task, %o });
    is $res->code, 201, 'made' or diag $res->body;
    return $res->json->{id};
}

sub get { return $hive->get("$base/$_[0]", $ada)->json }
# What is due is due now, or was that many seconds ago.
sub due {
    my ($id, $ago) = @_;
    $ago //= 0;
    $hive->psql("update cell0.schedules set next_at = date_trunc('second', now()) - interval '$ago s', fire_at = now() - interval '$ago s' where id = '$id'");
    return;
}
sub fired { my ($id, $n) = @_; return $hive->wait_for(10, sub { get($id)->{fired} >= ($n // 1) }) }
sub tasks { my ($title) = @_; return $hive->psql("select count(*) from cell0.all_tasks where title = '$title'") }

my $schedule;
subtest 'create, read, change, delete' => sub {
    my $res = $hive->post($base, $ada, { name => 'Nightly', cron => '30 2 * * *', time_zone => 'Europe/Berlin', task => $task, jitter_ms => 1000,
        catch_up => 'all' });
    is $res->code, 201, 'created' or diag $res->body;
    $schedule = $res->json;
    like $res->headers->location, qr{^\Q$base\E/$schedule->{id}$}, 'where it is';
    is $schedule->{time_zone}, 'Europe/Berlin', 'its zone';
    like $schedule->{next_at}, qr/T0[01]:30:00\.000Z$/, 'its next time' or diag $schedule->{next_at};
    is_deeply $schedule->{task}, $task, 'what it makes';
    is $schedule->{paused}, false, 'it is not paused';
    is $schedule->{fired}, 0, 'it has not fired';
    ok !exists $schedule->{fire_at}, 'and when exactly is nobody\'s matter';
    my $there = "$base/$schedule->{id}";
    is get($schedule->{id})->{name}, 'Nightly', 'read';
    is $hive->get("$base?name=Nightly", $ada)->json->{items}[0]{id}, $schedule->{id}, 'found';

    $res = $hive->patch($there, $ada, { name => 'Hourly', cron => '@hourly', time_zone => undef });
    is $res->code, 200, 'changed' or diag $res->body;
    is $res->json->{time_zone}, 'UTC', 'null is the default';
    like $res->json->{next_at}, qr/:00:00\.000Z$/, 'with another next time';
    my $next = $res->json->{next_at};
    is $hive->patch($there, $ada, { name => 'Again' })->json->{next_at}, $next, 'which a name does not change';
    is $hive->patch($there, $ada, { name => 'x' }, { 'If-Match' => '"1"' })->code, 412, 'not from a stale version';
    is $hive->patch($there, $ada, {})->code, 200, 'a change of nothing';
    my $other = make();
    is $hive->delete("$base/$other", $ada)->code, 204, 'deleted';
    is $hive->get("$base/$other", $ada)->code, 404, 'gone';
};

subtest 'what is wrong is said' => sub {
    my $check = sub {
        my ($more, $field, $name) = @_;
        my $body = { name => 's', cron => '0 0 * * *', task => $task, %$more };
        delete $body->{$_} for grep { !defined $body->{$_} } keys %$body;
        my $res = $hive->post($base, $ada, $body);
        is $res->code, 422, $name;
        is $res->json->{errors}[0]{field}, $field, "names $field" or diag $res->body;
    };
    $check->({ cron => undef }, 'cron', 'no expression');
    $check->({ cron => '* * * *' }, 'cron', 'one of four fields');
    $check->({ cron => '0 0 30 2 *' }, 'cron', 'a day that never comes');
    $check->({ time_zone => 'Mars/Base' }, 'time_zone', 'a zone there is not');
    $check->({ time_zone => '../../etc/passwd' }, 'time_zone', 'a file that is no zone');
    $check->({ jitter_ms => -1 }, 'jitter_ms', 'jitter below zero');
    $check->({ catch_up => 'perhaps' }, 'catch_up', 'a policy there is not');
    $check->({ task => undef }, 'task', 'nothing to make');
    $check->({ task => {} }, 'task.kind', 'a task without kind');
    $check->({ task => { %$task, run_at => '2030-01-01T00:00:00Z' } }, 'task.run_at', 'a task for one moment');
    $check->({ task => { %$task, input => { x => '{{ inputs.x }}' } } }, 'task.input.x', 'a quote of nothing there is');
    $check->({ workflow_id => '018f0000-0000-7000-8000-000000000001' }, 'task', 'two things to make');
    $check->({ task => undef, workflow_id => '018f0000-0000-7000-8000-000000000001' }, 'workflow_id', 'a workflow there is not');
    $check->({ project_id => '018f0000-0000-7000-8000-000000000001' }, 'project_id', 'a project there is not');
    $check->({ next_at => '2030-01-01T00:00:00Z' }, 'next_at', 'what is not for writing');
    is $hive->patch("$base/$schedule->{id}", $ada, { cron => 'never' })->code, 422, 'nor by a change';
    is $hive->patch("$base/$schedule->{id}", $ada, { task => undef })->code, 422, 'something must be left to make';
};

subtest 'preview' => sub {
    my $id = make(cron => '30 2 * * *', time_zone => 'Europe/Berlin');
    my $items = $hive->get("$base/$id/preview?count=100", $ada)->json->{items};
    is scalar @$items, 100, 'a hundred';
    is_deeply [sort @$items], $items, 'in order';
    is scalar @{ $hive->get("$base/$id/preview", $ada)->json->{items} }, 10, 'ten when not told';
    is $hive->get("$base/$id/preview?count=101", $ada)->code, 422, 'not more';
    is $hive->get("$base/$id/preview?colour=red", $ada)->code, 422, 'nothing else';
    is $items->[0], get($id)->{next_at}, 'begins with the next time';
};

subtest 'a stranger' => sub {
    my $there = "$base/$schedule->{id}";
    is $hive->get($there, $eve)->code, 404, 'cannot see it';
    is $hive->get("$there/preview", $eve)->code, 404, 'nor when';
    is $hive->patch($there, $eve, { name => 'mine' })->code, 404, 'nor change it';
    is $hive->post("$there/$_", $eve)->code, 404, "nor $_ it" for qw(fire pause resume);
    is $hive->delete($there, $eve)->code, 404, 'nor delete it';
    is_deeply $hive->get($base, $eve)->json->{items}, [], 'nor find it';
    my $workflow = $hive->post('/api/v1/workflows', $ada, { name => 'w', steps => [{ name => 'a', kind => 'noop' }] })->json->{id};
    is $hive->post($base, $eve, { name => 's', cron => '@daily', workflow_id => $workflow })->code, 422, 'nor have its workflow recur';
};

subtest 'a task' => sub {
    my $id = make(cron => '* * * * *', task => { kind => 'nobody', title => 'due', input => { at => '{{ schedule.time }}', by => '{{ schedule.name }}' } });
    due($id);
    ok fired($id), 'fired';
    is tasks('due'), 1, 'made';
    my $row = get($id);
    like $row->{next_at}, qr/:00\.000Z$/, 'its next time is the next minute';
    ok $row->{last_at}, 'and when it last did is told';
    is $hive->psql("select input->>'by' from cell0.tasks where title = 'due'"), 's', 'its input is filled in';
    like $hive->psql("select input->>'at' from cell0.tasks where title = 'due'"), qr/^\d{4}-\d\d-\d\dT[\d:.]+Z$/, 'with the time that is meant';
    is $hive->psql("select count(*) from cell0.events where channel = 'schedule:$id' and type = 'schedule.fired'"), 1, 'and its event';
    is $hive->psql(qq{select count(*) - max("offset") from cell0.events where channel = 'schedule:$id'}), 0, 'without a gap';
};

subtest 'a workflow' => sub {
    my $workflow = $hive->post('/api/v1/workflows', $ada, { name => 'w', steps => [{ name => 'a', kind => 'noop', input => { x => '{{ inputs.when }}' } }] })->json->{id};
    my $id = make(name => 'Runs', cron => '@daily', task => undef, workflow_id => $workflow, input => { when => '{{ schedule.time }}' });
    due($id);
    ok fired($id), 'fired';
    my $run = $hive->get("/api/v1/runs?workflow_id=$workflow", $ada)->json->{items}[0];
    is $run->{name}, 'Runs', 'a run of that name';
    like $hive->get("/api/v1/runs/$run->{id}", $ada)->json->{input}{when}, qr/^\d{4}-/, 'with its input';
    ok $hive->wait_for(5, sub { $hive->get("/api/v1/runs/$run->{id}", $ada)->json->{state} eq 'succeeded' }), 'which runs';

    my $bad = make(cron => '* * * * *', task => undef, workflow_id => $workflow);
    due($bad);
    ok $hive->wait_for(10, sub { get($bad)->{error} }), 'one that cannot be made says why';
    like get($bad)->{error}, qr/template_error.*inputs\.when/, 'by name';
    is get($bad)->{fired}, 0, 'it has not fired';
    like get($bad)->{next_at}, qr/:00\.000Z$/, 'its next time comes all the same';
};

subtest 'pause, resume, fire' => sub {
    my $id = make(cron => '* * * * *', task => { kind => 'nobody', title => 'paused' });
    my $res = $hive->post("$base/$id/pause", $ada);
    is $res->json->{paused}, true, 'paused';
    is $res->json->{next_at}, undef, 'there is no next time';
    is $hive->post("$base/$id/pause", $ada)->json->{version}, $res->json->{version}, 'twice is no change';
    $res = $hive->post("$base/$id/fire", $ada);
    is $res->code, 201, 'fired by hand' or diag $res->body;
    is $hive->get("/api/v1/tasks/" . $res->json->{task_id}, $ada)->json->{title}, 'paused', 'a task';
    is get($id)->{fired}, 1, 'counted';
    is get($id)->{next_at}, undef, 'and still paused';
    is $hive->patch("$base/$id", $ada, { cron => '*/5 * * * *' })->json->{next_at}, undef, 'also after a change';
    ok $hive->post("$base/$id/resume", $ada)->json->{next_at}, 'resumed';
    my $begins = $hive->post($base, $ada, { name => 's', cron => '@daily', task => $task, paused => true })->json;
    is $begins->{next_at}, undef, 'one may begin paused';
    my $key = { 'Idempotency-Key' => "fire-$$" };
    my @both = map { $hive->post("$base/$id/fire", $ada, undef, $key)->json->{task_id} } 1 .. 2;
    is $both[0], $both[1], 'with a key it fires once';
};

subtest 'catching up' => sub {
    my %expect = (skip => 0, one => 1, all => 120 > 100 ? 100 : 120);
    for my $policy (sort keys %expect) {
        my $id = make(cron => '* * * * *', catch_up => $policy, task => { kind => 'nobody', title => "catch $policy" });
        due($id, 7200);
        $hive->wait_for(10, sub { get($id)->{next_at} gt get($schedule->{id})->{created_at} && tasks("catch $policy") >= $expect{$policy} });
        sleep 0.2;
        is tasks("catch $policy"), $expect{$policy}, "$policy: $expect{$policy}";
        is get($id)->{fired}, $expect{$policy}, 'counted';
        my $ahead = $hive->psql("select extract(epoch from next_at - now()) between 0 and 60 from cell0.schedules where id = '$id'");
        is $ahead, 't', 'and then goes on';
    }
};

subtest 'many at once, by two processes, each once' => sub {
    my $n = 200;
    $hive->psql(<<"SQL");
insert into cell0.schedules (id, owner_id, name, cron, task, next_at, fire_at)
select gen_random_uuid(), '$ada->{id}', 'many', '0 0 1 1 *', '{"kind":"nobody","title":"many"}', now(), now() from generate_series(1, $n);
SQL
    ok $hive->wait_for(20, sub { tasks('many') >= $n }), 'all have fired';
    sleep 1;
    is tasks('many'), $n, 'once each';
    is $hive->psql("select count(*) from cell0.schedules where name = 'many' and fired_n <> 1"), 0, 'and say so';
};
$hive->stop;

subtest 'processes that die while they fire' => sub {
    my $mortal = Hive::Test->start(workers => 2, nginx_workers => 1, env => { HIVE_FAULT => 'schedule_fire:kill:6' });
    my $bob = $mortal->register;
    my $n = 40;
    $mortal->psql(<<"SQL");
insert into cell0.schedules (id, owner_id, name, cron, task, next_at, fire_at)
select gen_random_uuid(), '$bob->{id}', 'mortal', '0 0 1 1 *', '{"kind":"nobody","title":"mortal"}', now(), now() from generate_series(1, $n);
SQL
    my $count = sub { $mortal->psql("select count(*) from cell0.all_tasks where title = 'mortal'") };
    ok $mortal->wait_for(90, sub { $count->() >= $n }), 'none is lost' or diag $count->();
    sleep 1;
    is $count->(), $n, 'none fires twice';
    is $mortal->psql('select count(*) from cell0.schedules where fired_n <> 1'), 0, 'each has fired';
    cmp_ok scalar(() = $mortal->log('worker') =~ /signal 9/g), '>=', 3, 'and some have died';
    $mortal->stop;
};

done_testing;
