# swarm.t: a swarm takes one piece of work to its end: who does what, who sees
# whose work, what it costs, what happens when an agent fails.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Hive::Test::Models;
use Hive::WebSocket;
use Mojo::JSON qw(decode_json encode_json);
use Test::More;
use Time::HiRes qw(sleep time);

my $models = Hive::Test::Models->start;
my $hive = Hive::Test->start(workers => 2, ini => { worker => { drain_timeout => '2s' }, llm => { %{ $models->ini }, echo_rate => 0 } });
my ($ada, $eve) = map { $hive->register } 1 .. 2;
my $model = 'claude-sonnet-5-5';
$hive->load_models;

my $key = 0;
sub swarm {
    my (%o) = @_;
    my $res = $hive->post('/api/v1/swarms', $ada, { name => 'Team', model => $model, %o });
    $res->code == 201 or die 'swarm: ' . $res->body;
    return $res->json;
}
sub agents { map { { type => $_ } } @_ }
sub give {
    my ($swarm, $work, %o) = @_;
    return $hive->request(POST => "/api/v1/swarms/$swarm/tasks", $ada, $work, { 'Idempotency-Key' => 'k' . ++$key . $$, %{ $o{headers} // {} } });
}
sub run_of { my ($swarm, $run) = @_; return $hive->get("/api/v1/swarms/$swarm/tasks/$run", $ada)->json }
sub ended {
    my ($swarm, $run) = @_;
    my $now;
    $hive->wait_for(30, sub { $now = run_of($swarm, $run); ($now->{state} // '') ne 'running' })
        or die 'the run does not end: ' . encode_json($now);
    return $now;
}
sub step { my ($run, $name) = @_; return (grep { $_->{name} eq $name } @{ $run->{steps} })[0] }
# Words OUT-n that a prompt quotes.
sub quoted { return sort { $a <=> $b } $_[0] =~ /OUT-(\d+)/g }

subtest 'a swarm and its agents' => sub {
    my $swarm = swarm(topology => 'hierarchical', agents => [agents('coordinator', ('researcher') x 5)], max_agents => 7);
    is $swarm->{agents}, 6, 'six agents';
    my $graph = $hive->get("/api/v1/swarms/$swarm->{id}/graph", $ada)->json;
    my %name = map { $_->{id} => $_->{name} } @{ $graph->{nodes} };
    is scalar @{ $graph->{nodes} }, 6, 'are in the graph';
    is scalar @{ $graph->{edges} }, 10, 'with five edges, both ways';
    my $more = $hive->post("/api/v1/swarms/$swarm->{id}/agents", $ada, { type => 'code-analyzer', name => 'Ann', capabilities => ['perl'] });
    is $more->code, 201, 'one more comes, by another name of its type';
    my ($ann) = grep { $_->{name} eq 'Ann' } @{ $more->json->{items} };
    is $ann->{type}, 'analyst', 'which is known';
    is $hive->post("/api/v1/swarms/$swarm->{id}/agents", $ada, { type => 'coder' })->json->{code}, 'swarm_full', 'no more than max_agents';
    is $hive->patch("/api/v1/swarms/$swarm->{id}", $ada, { max_agents => 20 })->code, 200, 'unless it is raised';
    is $hive->post("/api/v1/swarms/$swarm->{id}/agents", $ada, { type => 'analyst', name => 'Ann' })->json->{code}, 'agent_name_taken', 'names are unique';
    is $hive->post("/api/v1/swarms/$swarm->{id}/agents", $ada, { type => 'poet' })->code, 422, 'a type that is none';
    is $hive->post("/api/v1/swarms/$swarm->{id}/agents", $ada, { type => 'coder', model => 'nobody' })->json->{code}, 'model_unknown', 'a model that is none';
    is $hive->delete("/api/v1/swarms/$swarm->{id}/agents/$ann->{id}", $ada)->code, 204, 'one retires';
    is $hive->delete("/api/v1/swarms/$swarm->{id}/agents/$ann->{id}", $ada)->code, 404, 'once';
    is scalar @{ $hive->get("/api/v1/swarms/$swarm->{id}/agents", $ada)->json->{items} }, 6, 'and is gone';
    is scalar @{ $hive->get("/api/v1/swarms/$swarm->{id}/agents?retired=true", $ada)->json->{items} }, 7, 'but not forgotten';
    is $hive->get("/api/v1/swarms/$swarm->{id}/graph", $ada)->json->{epoch}, 4, 'each change was an epoch';
    for my $path ('', '/status', '/graph', '/agents', '/tasks') {
        is $hive->get("/api/v1/swarms/$swarm->{id}$path", $eve)->code, 404, "a stranger does not see $path";
    }
    is $hive->post("/api/v1/swarms/$swarm->{id}/agents", $eve, { type => 'coder' })->code, 404, 'nor spawn';
    is $hive->post("/api/v1/swarms/$swarm->{id}/shutdown", $eve, {})->code, 404, 'nor shut it down';
    is $hive->post('/api/v1/swarms', $ada, { name => 'x', topology => 'ring' })->code, 422, 'a topology that is none';
    is $hive->post('/api/v1/swarms', $ada, { name => 'x', model => 'claude-3-opus-20240229' })->json->{code}, 'model_retired', 'a model that is retired';
    is $hive->post('/api/v1/swarms', $ada, { name => 'x', project_id => '01234567-89ab-7def-8123-456789abcdef' })->code, 422, 'a project that is none';
};

subtest 'a star: planned, done, put together' => sub {
    my $swarm = swarm(agents => [agents(qw(coordinator researcher coder tester))])->{id};
    my $before = () = $models->served;
    is $hive->post("/api/v1/swarms/$swarm/tasks", $ada, { description => 'x' })->json->{code}, 'idempotency_key_required', 'a key is required';
    my $ws = Hive::WebSocket->connect(port => $hive->port, path => '/ws', headers => ["Authorization: Bearer $ada->{token}"]);
    $ws->send_json({ type => 'subscribe', channel => "swarm:$swarm" });
    my $offset = $ws->recv_until(5, sub { $_[0]{type} eq 'subscription_confirmed' })->{offset};
    my $res = give($swarm, { description => 'Build a boat', requirements => 'It must float', priority => 'high' });
    is $res->code, 201, "work is given" or diag $res->body, $hive->log("worker");
    is $res->json->{state}, 'running', 'and begun';
    my $run = ended($swarm, $res->json->{id});
    is $run->{state}, 'succeeded', 'it ends well' or diag encode_json($run);
    my @served = $models->served;
    @served = @served[$before .. $#served];
    is scalar @served, 5, 'a plan, three parts, a result';
    is scalar @{ $run->{steps} }, 5, 'are its steps';
    is $run->{result}, $served[-1]{content}, 'the result is what the coordinator made of it';
    is_deeply [quoted($served[-1]{user})], [sort { $a <=> $b } map { $_->{n} } @served[1 .. 3]], 'of all parts';
    is_deeply [quoted($served[$_]{user})], [], 'a part sees no other' for 1 .. 3;
    like $served[$_]{user}, qr/Build a boat.*It must float.*Part \d/s, 'but what it is about' for 1 .. 3;
    is $run->{tries}, 5, 'the ledger has each call';
    my $sum = 0;
    $sum += 2000 * $_->{input_tokens} + 10000 * $_->{output_tokens} for @served;
    is $run->{nano_usd}, $sum, 'and its cost, exactly';
    is step($run, $_)->{nano_usd} > 0, 1, "$_ has its own" for qw(plan part-1 result);
    my $scores = step($run, 'part-1')->{scores};
    cmp_ok $scores->{score}, '>', 0.5, 'why that agent is kept';
    is scalar @{ $scores->{others} }, 2, 'beside the others';
    my %who = map { step($run, "part-$_")->{agent} => 1 } 1 .. 3;
    is scalar keys %who, 3, 'each part has an agent of its own';

    my (@events, $text);
    while (my $event = $ws->recv(2)) {
        if ($event->{type} eq 'message.delta') { $text .= $event->{data}{text}; next }
        push @events, $event;
        last if $event->{type} eq 'run.succeeded';
    }
    is_deeply [map { $_->{offset} } @events], [$offset + 1 .. $offset + @events], 'all events came, in order';
    my %n; $n{ $_->{type} }++ for @events;
    is_deeply \%n, { 'run.created' => 1, 'run.planned' => 1, 'step.started' => 5, 'step.succeeded' => 5, 'run.succeeded' => 1 }, 'each step of it';
    like $text, qr/OUT-\d+.*OUT-\d+/s, 'and what the models wrote';
    my $status = $hive->get("/api/v1/swarms/$swarm/status", $ada)->json;
    is_deeply $status->{runs}, { succeeded => 1 }, 'the status counts it';
    is $status->{nano_usd}, $sum, 'and the spend';
    is $hive->get("/api/v1/swarms/$swarm/tasks", $ada)->json->{items}[0]{id}, $run->{id}, 'it is listed';
    is $hive->get("/api/v1/swarms/$swarm/tasks/$run->{id}", $eve)->code, 404, 'for its owner only';
};

subtest 'given parts, in sequence' => sub {
    my $swarm = swarm(agents => [agents(qw(coordinator researcher coder))])->{id};
    my $before = () = $models->served;
    my $res = give($swarm, { description => 'Sail', strategy => 'sequential', subtasks => [map { { title => "Leg $_" } } 1 .. 3] });
    my $run = ended($swarm, $res->json->{id});
    is $run->{state}, 'succeeded', 'it ends well' or diag encode_json($run);
    my @served = $models->served;
    @served = @served[$before .. $#served];
    is scalar @served, 4, 'no plan was needed';
    is_deeply [quoted($served[1]{user})], [$served[0]{n}], 'the second sees the first';
    is_deeply [quoted($served[2]{user})], [$served[1]{n}], 'the third the second only';
    like $served[1]{user}, qr/ handed on by coordinator-1\) ===/, 'by way of the hub';
    for (['depends_on', [{ title => 'a', depends_on => ['b'] }]], ['title', [{}]], ['needs', [{ title => 'a', needs => ['magic'] }]],
        ['depends_on', [{ name => 'a', title => 'a', depends_on => ['b'] }, { name => 'b', title => 'b', depends_on => ['a'] }]],
        ['name', [{ name => 'plan', title => 'a' }]]) {
        my $bad = give($swarm, { description => 'x', subtasks => $_->[1] });
        is $bad->code, 422, "refused: $_->[0]";
        like $bad->body, qr/subtasks\[\d\]\.$_->[0]/, 'and where';
    }
    is give($swarm, { description => 'x', colour => 1 })->code, 422, 'an unknown member';
};

subtest 'a hierarchy' => sub {
    my $swarm = swarm(topology => 'hierarchical', agents => [agents('coordinator', ('worker') x 6)])->{id};
    my $before = () = $models->served;
    my $res = give($swarm, { description => 'Fleet', subtasks => [map { { title => "Ship $_", kind => 'general' } } 1 .. 6] });
    my $run = ended($swarm, $res->json->{id});
    is $run->{state}, 'succeeded', 'it ends well' or diag encode_json($run);
    my %of = map { my $s = $_; map { ($s->{name} => $_) } grep { $_->{content} eq $s->{output} } $models->served } @{ $run->{steps} };
    # members 5 and 6 are below member 1, who puts their work and his own together
    my $lead = step($run, 'lead-1');
    ok $lead, 'whom others are below has a step that puts their work together' or return;
    my @below = map { $_->{step} } @{ $lead->{sees} };
    is scalar @below, 3, 'of his own part and the two below';
    is_deeply [quoted($of{'lead-1'}{user})], [sort { $a <=> $b } map { $of{$_}{n} } @below], 'and sees just these';
    my @top = map { $_->{step} } @{ step($run, 'result')->{sees} };
    is scalar @top, 4, 'the root sees four: three parts and the lead';
    is_deeply [quoted($of{result}{user})], [sort { $a <=> $b } map { $of{$_}{n} } @top], 'and just these';
};

subtest 'a plan that is none' => sub {
    my $bad = Hive::Test::Models->start(bad_plans => 1);
    my $other = Hive::Test->start(workers => 1, ini => { llm => $bad->ini });
    my $user = $other->register;
    $other->load_models;
    my $swarm = $other->post('/api/v1/swarms', $user, { name => 'T', model => $model, agents => [agents(qw(coordinator coder))] })->json->{id};
    my $run = sub { $other->request(POST => "/api/v1/swarms/$swarm/tasks", $user, { description => 'x' }, { 'Idempotency-Key' => 'p' . ++$key })->json->{id} };
    my $end = sub { my ($id) = @_; my $now; $other->wait_for(20, sub { $now = $other->get("/api/v1/swarms/$swarm/tasks/$id", $user)->json; $now->{state} ne 'running' }); return $now };
    my $first = $end->($run->());
    is $first->{state}, 'succeeded', 'is asked for once more';
    is $first->{tries}, 6, 'which is in the ledger';
    $bad->stop;
    my $worse = Hive::Test::Models->start(bad_plans => 9);
    $other->stop;
    $other = Hive::Test->start(workers => 1, ini => { llm => $worse->ini });
    $user = $other->register;
    $other->load_models;
    $swarm = $other->post('/api/v1/swarms', $user, { name => 'T', model => $model, agents => [agents(qw(coordinator coder))] })->json->{id};
    my $second = $end->($run->());
    is $second->{state}, 'failed', 'twice is too much';
    is $second->{error}{code}, 'plan_refused', 'and said so';
    is $second->{tries}, 2, 'after two calls';
    $other->stop;
    $worse->stop;
};

subtest 'cancelled, shut down' => sub {
    my $swarm = swarm(model => 'echo', agents => [agents(qw(coordinator coder))]);
    my $res = give($swarm->{id}, { description => 'x' });
    is ended($swarm->{id}, $res->json->{id})->{state}, 'succeeded', 'echo does it too';
    like ended($swarm->{id}, $res->json->{id})->{result}, qr/^\[echo:/, 'and says so';
    my $stuck = swarm(agents => [agents(qw(coordinator coder))])->{id};
    $models->chaos({ latencyMs => 20000 });
    my $long = give($stuck, { description => 'x' })->json->{id};
    $hive->wait_for(5, sub { (step(run_of($stuck, $long), 'plan') // {})->{state} eq 'running' });
    is $hive->delete("/api/v1/swarms/$stuck", $ada)->json->{code}, 'swarm_not_terminated', 'one that lives is not deleted';
    is $hive->post("/api/v1/swarms/$stuck/tasks/$long/cancel", $ada)->code, 200, 'a run is cancelled';
    my $now = ended($stuck, $long);
    is $now->{state}, 'cancelled', 'and ends so';
    is_deeply [sort map { $_->{state} } @{ $now->{steps} }], ['cancelled', 'cancelled'], 'with its steps';
    is $hive->post("/api/v1/swarms/$stuck/tasks/$long/cancel", $ada)->json->{code}, 'run_finished', 'once';
    my $more = give($stuck, { description => 'y' })->json->{id};
    is $hive->post("/api/v1/swarms/$stuck/shutdown", $ada)->json->{state}, 'draining', 'shut down, it drains';
    is give($stuck, { description => 'z' })->json->{code}, 'swarm_not_active', 'and takes no more';
    $hive->post("/api/v1/swarms/$stuck/shutdown", $ada, { force => \1 });
    is ended($stuck, $more)->{state}, 'cancelled', 'forced, what runs is cancelled';
    ok $hive->wait_for(10, sub { $hive->get("/api/v1/swarms/$stuck", $ada)->json->{state} eq 'terminated' }), 'then it is terminated';
    is $hive->delete("/api/v1/swarms/$stuck", $ada)->code, 204, 'and can be deleted';
    $models->chaos({});
};

subtest 'an agent that retires' => sub {
    for my $needed (0, 1) {
        my $swarm = swarm(agents => [agents('coordinator'), map { { type => 'coder', name => "c$_", $_ == 2 ? (capabilities => ['sql']) : () } } 1 .. 2])->{id};
        $models->chaos({ latencyMs => 1000 });
        my $run = give($swarm, { description => 'x', strategy => 'sequential', subtasks => [{ title => 'a' }, { title => 'b', $needed ? (needs => ['sql']) : () }] })->json->{id};
        my $whose = step(run_of($swarm, $run), 'part-2')->{agent_id};
        $hive->wait_for(10, sub { step(run_of($swarm, $run), 'part-1')->{state} eq 'running' });
        is $hive->delete("/api/v1/swarms/$swarm/agents/$whose", $ada)->code, 204, 'before its part begins';
        my $now = ended($swarm, $run);
        if ($needed) {
            is $now->{state}, 'failed', 'who alone could do it: the run ends';
            is $now->{error}{code}, 'no_agent', 'and says why';
        }
        else {
            is $now->{state}, 'succeeded', 'another does it' or diag encode_json($now->{error});
            isnt step($now, 'part-2')->{agent_id}, $whose, 'not he';
        }
        $models->chaos({});
    }
};

subtest 'cancelled as the run of tasks it is' => sub {
    my $swarm = swarm(agents => [agents(qw(coordinator coder))])->{id};
    $models->chaos({ latencyMs => 5000 });
    my $run = give($swarm, { description => 'x' })->json->{id};
    is $hive->post("/api/v1/runs/$run/cancel", $ada)->code, 200, 'by its other name';
    is ended($swarm, $run)->{state}, 'cancelled', 'is cancelled';
    $models->chaos({});
    is $hive->post("/api/v1/runs/$run/retry", $ada)->code, 200, 'tried again by that name';
    ok $hive->wait_for(20, sub { run_of($swarm, $run)->{state} eq 'succeeded' }), 'it goes on';
};

# One step of two fails, at once; the model comes back.
subtest 'a run that failed is tried again' => sub {
    for my $how (qw(swarm run task)) {
        my $swarm = swarm(agents => [agents(qw(coordinator coder))], model => 'claude-haiku-4-5')->{id};
        $models->chaos({ latencyMs => 1000 });
        my $run = give($swarm, { description => 'x', strategy => 'sequential', subtasks => [{ title => 'a' }, { title => 'b' }] })->json->{id};
        is $hive->post("/api/v1/swarms/$swarm/tasks/$run/retry", $ada)->json->{code}, 'run_running', 'not while it goes on';
        $hive->wait_for(10, sub { (step(run_of($swarm, $run), 'part-1') // {})->{state} eq 'running' });
        $hive->psql("update hive.models set status = 'retired' where id = 'claude-haiku-4-5'");
        my $now = ended($swarm, $run);
        is $now->{state}, 'failed', "$how: failed";
        $models->chaos({});
        $hive->psql("update hive.models set status = 'active' where id = 'claude-haiku-4-5'");
        is $hive->post("/api/v1/swarms/$swarm/tasks/$run/retry", $eve)->code, 404, 'not by somebody else';
        my $path = $how eq 'swarm' ? "swarms/$swarm/tasks/$run" : $how eq 'run' ? "runs/$run" : 'tasks/' . (grep { $_->{state} eq 'failed' } @{ $hive->get("/api/v1/runs/$run/tasks", $ada)->json->{items} })[0]{id};
        my $res = $hive->post("/api/v1/$path/retry", $ada);
        is $res->code, 200, 'tried again' or diag $res->body;
        is $res->json->{state}, 'running', 'it runs' if $how eq 'swarm';
        is $res->json->{error}, undef, 'and has no error any more';
        ok $hive->wait_for(20, sub { ($now = run_of($swarm, $run))->{state} eq 'succeeded' }), 'to its end' or diag encode_json($now);
        is_deeply [map { "$_->{name} $_->{state}" } @{ $now->{steps} }], ['part-1 succeeded', 'part-2 succeeded', 'result succeeded'], 'all of it';
        is step($now, 'part-1')->{tries}, 1, 'what was done is not done again';
        is $now->{finished_at} ? 1 : 0, 1, 'it has ended once more';
        is $hive->post("/api/v1/swarms/$swarm/tasks/$run/retry", $ada)->json->{code}, 'run_succeeded', 'after which nothing is left';
        my $told = $hive->psql("select count(*) filter (where type = 'run.retried') || ' ' || count(*) filter (where type = 'run.failed') || ' ' || count(*) filter (where type = 'run.succeeded') from cell0.events where channel = 'swarm:$swarm'");
        like $told, qr/^1 1 1$/m, 'each told once';
    }
};

# Whoever says that runs have ended (keeper.c) leaves one alone that is being
# tried again: its run of tasks is locked.
subtest 'tried again while its end is being noticed' => sub {
    my $swarm = swarm(agents => [agents(qw(coordinator coder))])->{id};
    $models->chaos({ latencyMs => 5000 });
    my $run = give($swarm, { description => 'x', subtasks => [{ title => 'a' }] })->json->{id};
    my ($ours, $tasks) = map { $hive->psql_start } 1 .. 2;
    Hive::Test::psql_ask($ours, "begin; select id from cell0.swarm_runs where id = '$run' for update;");
    $hive->post("/api/v1/runs/$run/cancel", $ada);
    ok $hive->wait_for(10, sub { $hive->get("/api/v1/runs/$run", $ada)->json->{state} eq 'cancelled' }), 'cancelled';
    Hive::Test::psql_ask($tasks, "begin; select id from cell0.runs where id = '$run' for update;");
    Hive::Test::psql_ask($ours, 'commit;');
    sleep 1.5;
    is run_of($swarm, $run)->{state}, 'running', 'not noticed while somebody has the run of tasks';
    $models->chaos({});
    Hive::Test::psql_ask($tasks, 'commit;');
    $hive->psql_end($_) for $ours, $tasks;
    my $res = $hive->post("/api/v1/swarms/$swarm/tasks/$run/retry", $ada);
    is $res->code, 200, 'tried again, noticed or not' or diag $res->body;
    my $now = ended($swarm, $run);
    is $now->{state}, 'succeeded', 'it ends well' or diag encode_json($now);
};

subtest 'steps that begin again together' => sub {
    my $swarm = swarm(agents => [agents(qw(coordinator coder coder coder))], model => 'claude-haiku-4-5')->{id};
    $models->chaos({ latencyMs => 1000 });
    my $run = give($swarm, { description => 'x', subtasks => [{ title => 'a', name => 'a' }, map { { title => $_, depends_on => ['a'] } } qw(b c d)] })->json->{id};
    $hive->wait_for(10, sub { (step(run_of($swarm, $run), 'a') // {})->{state} eq 'running' });
    $hive->psql("update hive.models set status = 'retired' where id = 'claude-haiku-4-5'");
    is ended($swarm, $run)->{state}, 'failed', 'after they have failed';
    $models->chaos({});
    $hive->psql("update hive.models set status = 'active' where id = 'claude-haiku-4-5'");
    is $hive->post("/api/v1/runs/$run/retry", $ada)->code, 200, 'of the run of tasks';
    ok $hive->wait_for(20, sub { run_of($swarm, $run)->{state} eq 'succeeded' }), 'do so';
    like $hive->psql("select count(*) from cell0.events where channel = 'swarm:$swarm' and type = 'run.retried'"), qr/^1$/m, 'and it is said once';
};

subtest 'deleted while it begins again' => sub {
    my $swarm = swarm(agents => [agents(qw(coordinator coder))])->{id};
    $models->chaos({ latencyMs => 5000 });
    my $run = give($swarm, { description => 'x', subtasks => [{ title => 'a' }] })->json->{id};
    $hive->post("/api/v1/swarms/$swarm/tasks/$run/cancel", $ada);
    ended($swarm, $run);
    $models->chaos({});
    my @pids = sort $hive->worker_pids;
    my $ours = $hive->psql_start;
    Hive::Test::psql_ask($ours, "begin; delete from cell0.swarms where id = '$swarm';");
    $hive->post("/api/v1/runs/$run/retry", $ada);
    sleep 0.7;
    Hive::Test::psql_ask($ours, 'commit;');
    $hive->psql_end($ours);
    ok $hive->wait_for(20, sub { $hive->get("/api/v1/runs/$run", $ada)->json->{state} eq 'failed' }), 'the run fails';
    is_deeply [sort $hive->worker_pids], \@pids, 'and no process does';
};

subtest 'a run of a swarm that takes no more work is not tried again' => sub {
    my $swarm = swarm(agents => [agents(qw(coordinator coder))])->{id};
    $models->chaos({ latencyMs => 5000 });
    my $run = give($swarm, { description => 'x' })->json->{id};
    $hive->post("/api/v1/swarms/$swarm/tasks/$run/cancel", $ada);
    is ended($swarm, $run)->{state}, 'cancelled', 'cancelled';
    $models->chaos({});
    is $hive->post("/api/v1/swarms/$swarm/shutdown", $ada)->json->{state}, 'terminated', 'its swarm too';
    is $hive->post("/api/v1/swarms/$swarm/tasks/$run/retry", $ada)->json->{code}, 'swarm_not_active', 'refused';
    is $hive->get("/api/v1/runs/$run", $ada)->json->{state}, 'cancelled', 'and nothing has begun';
    is $hive->post("/api/v1/runs/$run/retry", $ada)->code, 200, 'by its other name it begins';
    ok $hive->wait_for(20, sub { $hive->get("/api/v1/runs/$run", $ada)->json->{state} eq 'failed' }), 'and fails';
    is run_of($swarm, $run)->{state}, 'cancelled', 'the swarm does not say otherwise';
    $hive->psql("delete from cell0.runs where id = '$run'");
    is $hive->post("/api/v1/swarms/$swarm/tasks/$run/retry", $ada)->json->{code}, 'run_expired', 'nor when its tasks are gone';
    is $hive->post("/api/v1/swarms/$swarm/tasks/$run/cancel", $ada)->json->{code}, 'run_finished', 'and it is over';
};

# Its process died between the result and the end of the task, which then was
# cancelled.
subtest 'a run whose result is there is not tried again' => sub {
    my $swarm = swarm(agents => [agents(qw(coordinator coder))])->{id};
    my $run = give($swarm, { description => 'x', subtasks => [{ title => 'a' }] })->json->{id};
    is ended($swarm, $run)->{state}, 'succeeded', 'there it is';
    ok $hive->wait_for(10, sub { $hive->get("/api/v1/runs/$run", $ada)->json->{state} eq 'succeeded' }), 'all of it';
    $hive->psql("update cell0.task_history set state = 'cancelled' where run_id = '$run' and step = 'result'; update cell0.runs set state = 'cancelled', succeeded_n = succeeded_n - 1, cancelled_n = cancelled_n + 1 where id = '$run'");
    is $hive->post("/api/v1/swarms/$swarm/tasks/$run/retry", $ada)->json->{code}, 'run_succeeded', 'refused';
    is $hive->get("/api/v1/runs/$run", $ada)->json->{state}, 'cancelled', 'and nothing has begun';
};

subtest 'a model that is gone in the middle' => sub {
    my $swarm = swarm(agents => [agents(qw(coordinator coder))], model => 'claude-haiku-4-5')->{id};
    $models->chaos({ latencyMs => 1000 });
    my $run = give($swarm, { description => 'x', strategy => 'sequential', subtasks => [{ title => 'a' }, { title => 'b' }] })->json->{id};
    $hive->wait_for(10, sub { (step(run_of($swarm, $run), 'part-1') // {})->{state} eq 'running' });
    $hive->psql("update hive.models set status = 'retired' where id = 'claude-haiku-4-5'");
    my $now = ended($swarm, $run);
    is $now->{state}, 'failed', 'ends the run, at once';
    is $now->{error}{code}, 'model_retired', 'and it says why';
    is $now->{error}{step}, 'part-2', 'and where';
    is step($now, 'part-2')->{state}, 'failed', 'as does the step';
    is $hive->get("/api/v1/tasks?kind=swarm&state=failed", $ada)->json->{items}[0]{attempt}, 1, 'which was not tried again';
    $models->chaos({});
    $hive->psql("update hive.models set status = 'active' where id = 'claude-haiku-4-5'");
};

subtest 'an agent that fails' => sub {
    my $swarm = swarm(agents => [agents(qw(coordinator coder researcher))])->{id};
    $models->chaos({ dropRate => 1 });
    my $run = give($swarm, { description => 'x', subtasks => [{ title => 'a', kind => 'code' }] })->json->{id};
    my $first = step(run_of($swarm, $run), 'part-1')->{agent};
    ok $hive->wait_for(20, sub { my $s = step(run_of($swarm, $run), 'part-1'); $s->{attempt} >= 2 && $s->{agent} ne $first }), 'leaves the step to another';
    $models->chaos({});
    my $now = ended($swarm, $run);
    is $now->{state}, 'succeeded', 'who does it' or diag encode_json($now);
    my ($failed) = grep { $_->{name} eq $first } @{ $hive->get("/api/v1/swarms/$swarm/agents", $ada)->json->{items} };
    cmp_ok $failed->{failed}, '>=', 1, 'it is in his record';
};

subtest 'an answer that is none' => sub {
    my $swarm = swarm(agents => [agents(qw(coordinator coder coder))])->{id};
    my $now = ended($swarm, give($swarm, { description => 'x NOTHING-part-a', subtasks => [{ title => 'a' }] })->json->{id});
    is $now->{state}, 'succeeded', 'is no result';
    is step($now, 'part-1')->{attempt}, 2, 'another agent is asked';
    like $now->{result}, qr/^OUT-/, 'and there is one';
    is $now->{tries}, 3, 'all are in the ledger';
    is step($now, 'part-1')->{stop_reason}, 'end_turn', 'and the step says why its model ended';
};

subtest 'a lead that fails' => sub {
    my $swarm = swarm(topology => 'hierarchical', agents => [agents('coordinator', ('worker') x 6)])->{id};
    my $now = ended($swarm, give($swarm, { description => 'Fleet NOTHING-lead-a', subtasks => [map { { title => "Ship $_", kind => 'general' } } 1 .. 6] })->json->{id});
    is $now->{state}, 'succeeded', 'another does it' or diag encode_json($now->{error});
    my $lead = step($now, 'lead-1');
    is $lead->{attempt}, 2, 'after the first';
    my $graph = $hive->get("/api/v1/swarms/$swarm/graph", $ada)->json;
    my %next = map { ("$_->{src} $_->{dst}" => 1) } @{ $graph->{edges} };
    my $wrong = 0;
    for my $seen (@{ $lead->{sees} }) {
        my ($from, $to, $via) = (step($now, $seen->{step})->{agent_id}, $lead->{agent_id}, $seen->{via});
        $wrong++ unless $via ? $next{"$from $via"} && $next{"$via $to"} : $from eq $to || $next{"$from $to"};
    }
    is $wrong, 0, 'to whom all that he sees comes by edges there are' or diag encode_json([$lead, $graph]);
    is scalar(grep { $_->{via} } @{ $lead->{sees} }), 2, 'by way of the one who failed, from below him';
    my ($served) = grep { $_->{content} eq $lead->{output} } $models->served;
    is scalar(() = $served->{user} =~ / handed on by /g), 2, 'as he is told';
};

subtest 'an agent that joins' => sub {
    my $swarm = swarm(agents => [agents('researcher'), { type => 'coder', name => 'c1' }, { type => 'coder', name => 'c2', capabilities => ['sql'] }])->{id};
    $models->chaos({ latencyMs => 700 });
    my $run = give($swarm, { description => 'x', strategy => 'sequential', subtasks => [{ title => 'a' }, { title => 'b', needs => ['sql'] }] })->json->{id};
    $hive->wait_for(10, sub { step(run_of($swarm, $run), 'part-1')->{state} eq 'running' });
    is $hive->post("/api/v1/swarms/$swarm/agents", $ada, { agents => [{ type => 'coordinator' }] })->code, 201, 'in the middle';
    my $now = ended($swarm, $run);
    is $now->{state}, 'succeeded', 'changes nothing for the work under way' or diag encode_json($now->{error});
    is step($now, 'part-2')->{agent}, 'c2', 'who could do it does';
    is step($now, 'result')->{agent}, 'researcher-1', 'who coordinated coordinates';
    my ($agent) = grep { $_->{name} eq 'c2' } @{ $hive->get("/api/v1/swarms/$swarm/agents", $ada)->json->{items} };
    my $took = $hive->psql("select extract(epoch from finished_at - started_at) * 1000 from cell0.swarm_steps where run_id = '$run' and name = 'part-2'");
    cmp_ok abs($agent->{mean_ms} - $took), '<', 300, "$agent->{mean_ms} ms stand in his record";
    $models->chaos({});
};

subtest 'a step that had failed' => sub {
    my $swarm = swarm(agents => [agents(qw(coordinator coder))])->{id};
    $models->chaos({ dropRate => 1 });
    my $run = give($swarm, { description => 'x', subtasks => [{ title => 'a' }] })->json->{id};
    $hive->wait_for(10, sub { step(run_of($swarm, $run), 'part-1')->{attempt} });
    $hive->psql(qq(update cell0.swarm_steps set state = 'failed', error = '{"code":"boom","message":"it broke"}' where run_id = '$run' and name = 'part-1'));
    my $now = ended($swarm, $run);
    is $now->{state}, 'failed', 'before its process died';
    is "$now->{error}{code}: $now->{error}{message}", 'boom: it broke', 'fails the run for the reason it had';
    $models->chaos({});
};

is $hive->post('/api/v1/swarms', $ada, { name => 'x', models => { queen => $model } })->code, 422, 'models are by the types there are';

$hive->stop;
$models->stop;
done_testing;
