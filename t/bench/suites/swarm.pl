# swarm.pl: what a swarm costs beside its models.

use strict;
use warnings;
use Bench;
use Hive::Test;
use Hive::WebSocket;
use List::Util qw(min max sum);
use Models;
use Time::HiRes qw(sleep time);

my ($hive, $models, $user);
my $key = 0;

sub swarm {
    my ($agents) = @_;
    my $res = $hive->post('/api/v1/swarms', $user, { name => 'Bench', model => 'claude-haiku-5-5', max_agents => 100,
        agents => [{ type => 'coordinator' }, map { { type => 'worker' } } 2 .. $agents] });
    return $res->json->{id} // die $res->body;
}

sub give {
    my ($swarm, $text, $parts) = @_;
    my $res = $hive->request(POST => "/api/v1/swarms/$swarm/tasks", $user,
        { description => $text, subtasks => [map { { title => "part $_" } } 1 .. $parts] }, { 'Idempotency-Key' => 'b' . ++$key . time });
    return $res->json->{id} // die $res->body;
}

sub ended {
    my ($swarm, $run) = @_;
    my $now;
    $hive->wait_for(120, sub { $now = $hive->get("/api/v1/swarms/$swarm/tasks/$run", $user)->json; $now->{state} ne 'running' });
    die "the run $now->{state}\n" unless $now->{state} eq 'succeeded';
    return $now;
}

return sub {
    my ($o) = @_;
    my $want = sub { !defined $o->{only} || "@_" =~ /$o->{only}/i };
    Bench::heading('swarm: orchestration beside its models (model_stream)');
    $models = Models->start;
    $hive = Hive::Test->start(bench => 1, workers => 2, nginx_workers => 1, ini => { llm => $models->ini });
    $hive->load_models;
    $user = $hive->register;

    if ($want->('overhead')) {
        my $swarm = swarm(21);
        ended($swarm, give($swarm, 'RATE-0 COUNT-5', 20));
        my @took = map {
            my $run = give($swarm, 'RATE-0 COUNT-5', 20);
            ended($swarm, $run);
            1000 * $hive->psql("select extract(epoch from finished_at - created_at) from cell0.swarm_runs where id = '$run'") / 20;
        } 1 .. 10;
        @took = sort { $a <=> $b } @took;
        Bench::row('overhead of a run of 20 subtasks, per subtask', $took[5], 'ms', 10, 'max',
            sprintf 'median of 10, %.2f to %.2f; models answer at once', $took[0], $took[-1]);
    }

    if ($want->('agents')) {
        my @swarms = map { swarm(6) } 1 .. 10;
        my @ws = map {
            my $ws = Hive::WebSocket->connect(port => $hive->port, path => '/ws', headers => ["Authorization: Bearer $user->{token}"]);
            $ws->send_json({ type => 'subscribe', channel => "swarm:$_" });
            $ws->recv_until(5, sub { $_[0]{type} eq 'subscription_confirmed' });
            $ws;
        } @swarms;
        my @pids = (@{[$hive->worker_pids]}, @{[$hive->nginx_pids]});
        my @runs = map { give($_, 'RATE-20 COUNT-300 X-2', 5) } @swarms;
        sleep 2;
        my ($cpu, $began) = (Bench::cpu(@pids), time);
        # readers in processes of their own: they read and check
        my @readers = map {
            my $ws = $_;
            my $pid = fork // die;
            if (!$pid) {
                my ($last, $bad, $n, %position) = (0, 0, 0);
                while (my $event = $ws->recv(20)) {
                    last if $event->{close};
                    $n++;
                    if ($event->{type} eq 'message.delta') {
                        my $d = $event->{data};
                        $bad++ if defined $position{ $d->{id} } && $d->{position} != $position{ $d->{id} };
                        $position{ $d->{id} } = $d->{position} + length $d->{text};
                    }
                    elsif ($event->{offset}) { $bad++ if $last && $event->{offset} != $last + 1; $last = $event->{offset} }
                    last if $event->{type} eq 'run.succeeded';
                }
                POSIX::_exit($bad || !$n ? 1 : 0);
            }
            $pid;
        } @ws;
        sleep 10;
        my $used = (Bench::cpu(@pids) - $cpu) / (time - $began);
        my $wrong = 0;
        for (@readers) { waitpid $_, 0; $wrong++ if $? }
        ended($swarms[$_], $runs[$_]) for 0 .. 9;
        Bench::row('50 agents in 10 swarms, a burst each 50 ms: CPU', 100 * $used, '%', 20, 'max', 'of one core: workers and nginx, over 10 s; ten watchers');
        Bench::row('50 agents in 10 swarms: watchers with a gap', $wrong, '', 0, 'max', 'offsets and positions of text, checked by each');
    }
    $hive->stop;
    $models->stop;
};
