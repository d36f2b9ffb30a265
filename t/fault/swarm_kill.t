# kill -9 of a hive-worker every 2 s while swarms work: every run ends with the
# right result, no step is done twice, the ledger has every call that came to the
# provider

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Time::HiRes qw(sleep time);
use Hive::Test;
use Hive::Test::Models;

# 20 runs of each topology under ./dev fault.
my $runs = $ENV{HIVE_FAULT_ROUNDS} ? 20 : 3;
my $at_once = 4;

my $models = Hive::Test::Models->start(latency => 100, chunk => 24, words => 60);
my $hive = Hive::Test->start(workers => 4, nginx_workers => 1, ini => { llm => $models->ini });
$hive->load_models;
my $user = $hive->register;
my $key = 0;

# Through a death the answer may be lost; the key makes it safe to ask again.
sub insist {
    my ($method, $path, $body) = @_;
    my $id = "s$$-" . ++$key;
    my $res;
    $hive->wait_for(30, sub {
        $res = $hive->request($method => $path, $user, $body, { 'Idempotency-Key' => $id });
        return ($res->code // 0) =~ /^2/;
    }) or die "$method $path: " . ($res->code // 'no answer') . ' ' . $res->body;
    return $res->json;
}

sub swarm {
    my ($topology) = @_;
    return insist(POST => '/api/v1/swarms', { name => $topology, topology => $topology, model => 'claude-haiku-5-5',
        agents => [{ type => 'coordinator' }, map { { type => 'worker' } } 1 .. 6] })->{id};
}

for my $topology (qw(star hierarchical)) {
    my ($deaths, $killed_at) = (0, time);
    my @waiting = map { $_ % 2 ? 6 : 0 } 1 .. $runs;      # with parts, or planned
    my (@live, @done);
    my $until = time + 60 + 30 * $runs;
    while ((@waiting || @live) && time < $until) {
        while (@waiting && @live < $at_once) {
            my $parts = shift @waiting;
            my $swarm = swarm($topology);
            my $run = insist(POST => "/api/v1/swarms/$swarm/tasks", { description => "Work $swarm",
                $parts ? (subtasks => [map { { title => "Part $_" } } 1 .. $parts]) : () });
            push @live, { swarm => $swarm, run => $run->{id} };
        }
        if (time - $killed_at >= 2) {
            my @pids = $hive->worker_pids;
            kill KILL => $pids[rand @pids] if @pids;
            $deaths++;
            $killed_at = time;
        }
        for my $one (splice @live) {
            my $res = $hive->get("/api/v1/swarms/$one->{swarm}/tasks/$one->{run}", $user);
            $one->{end} = $res->json if ($res->code // 0) == 200;
            push @{ ($one->{end}{state} // 'running') eq 'running' ? \@live : \@done }, $one;
        }
        sleep 0.1;
    }
    is scalar @done, $runs, "$topology: all runs end, with $deaths processes killed";
    my @bad = grep { $_->{end}{state} ne 'succeeded' } @done;
    is scalar @bad, 0, "$topology: with a result" or diag join "\n", map { Mojo::JSON::encode_json($_->{end}{error}) } @bad;

    my %by = map { $_->{content} => $_ } $models->served;
    my ($wrong, $steps, $apart) = (0, 0, 0);
    for my $run (grep { $_->{state} eq 'succeeded' } map { $_->{end} } @done) {
        my %step = map { $_->{name} => $_ } @{ $run->{steps} };
        for my $step (@{ $run->{steps} }) {
            next if $step->{role} eq 'plan';
            $steps++;
            my @sees = sort map { $step{ $_->{step} }{output} =~ /^(OUT-\d+) / } @{ $step->{sees} };
            my $prompt = $by{ $step->{output} }{user} // '';
            my @quoted = sort $prompt =~ /(OUT-\d+) /g;
            $wrong++ if "@sees" ne "@quoted";
        }
        $wrong++ if $run->{result} ne $step{result}{output};
        for my $figure (qw(nano_usd input_tokens output_tokens)) {
            my $sum = 0;
            $sum += $_->{$figure} for @{ $run->{steps} };
            $apart++ if $sum != $run->{$figure};
        }
    }
    is $apart, 0, "$topology: steps have cost what their run has, with what was lost";
    is $wrong, 0, "$topology: each of $steps steps was told just what it sees, and the result is that of the last";
}

is $hive->psql(q(select count(*) from (select 1 from cell0.events where type = 'step.succeeded'
    group by data->>'run_id', data->>'step' having count(*) > 1) x)), 0, 'no step was done twice';
is $hive->psql(q(select count(*) from (select 1 from cell0.task_history where kind = 'swarm' and state = 'succeeded'
    group by run_id, step having count(*) > 1) x)), 0, 'nor its task';
is $hive->psql(q(select count(*) from (select channel, array_agg("offset"::bigint order by "offset") as o from cell0.events
    where channel like 'swarm:%' group by channel) x where o <> array(select generate_series(1::bigint, cardinality(o)::bigint)))), 0,
    'no event of a swarm is missing';

ok $hive->wait_for(15, sub { $hive->psql("select count(*) from cell0.usage where state = 'open'") == 0 }), 'no row of the ledger stays open';
my %row = map { my ($id, $state) = split /\|/; ($id => $state) } split /\n/, $hive->psql("select id || '|' || state from cell0.usage");
my @asked = $models->requests;
my @missing = grep { !exists $row{$_} } @asked;
is scalar @missing, 0, 'the ledger has each of ' . @asked . ' calls that the provider got';
my %asked = map { $_ => 1 } @asked;
is scalar(grep { $row{$_} eq 'succeeded' && !$asked{$_} } keys %row), 0, 'and none that it did not get as done';
my $lost = grep { $_ eq 'lost' } values %row;
note "$lost were lost with their process";
cmp_ok $lost, '>', 0, 'those that were lost with their process say so' if $ENV{HIVE_FAULT_ROUNDS};

$hive->stop;
$models->stop;
done_testing;
