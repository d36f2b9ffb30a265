# chaos.t: a provider that drops, breaks off, talks nonsense, is overloaded and
# slow, one time in ten: every run ends in time, with a result or a clear error,
# and the ledger is what the provider says it served.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Hive::Test::Models;
use Mojo::JSON qw(encode_json);
use Test::More;
use Time::HiRes qw(sleep time);

my $runs = $ENV{HIVE_CHAOS_RUNS} // 12;
my $models = Hive::Test::Models->start(latency => 2, chunk => 24, truncated => 0.02, overloaded => 0.02, slow => 0.1,
    chaos => { dropRate => 0.02, malformedRate => 0.02, rateLimitRate => 0.01, disconnectRate => 0.01 });
my $hive = Hive::Test->start(workers => 2, ini => { llm => $models->ini });
$hive->load_models;
my $ada = $hive->register;
my @swarms = map { $hive->post('/api/v1/swarms', $ada, { name => 'Chaos', model => 'claude-haiku-5-5', topology => $_ % 2 ? 'star' : 'hierarchical',
    agents => [{ type => 'coordinator' }, map { { type => 'worker' } } 1 .. 5] })->json->{id} } 1 .. 4;
my $began = time;
my @live = map {
    my $swarm = $swarms[$_ % 4];
    [$swarm, $hive->request(POST => "/api/v1/swarms/$swarm/tasks", $ada, { description => "Work $_", $_ % 3 ? (subtasks => [map { { title => "Part $_" } } 1 .. 6]) : () },
        { 'Idempotency-Key' => "c$_" })->json->{id}]
} 1 .. $runs;
my @ends;
my $until = time + 120;
while (@live && time < $until) {
    for my $one (splice @live) {
        my $run = $hive->get("/api/v1/swarms/$one->[0]/tasks/$one->[1]", $ada)->json;
        if ($run->{state} eq 'running') { push @live, $one } else { push @ends, $run }
    }
    sleep 0.2;
}
is scalar @live, 0, sprintf 'all runs end, in %.1f s', time - $began;
my %n; $n{ $_->{state} }++ for @ends;
note encode_json(\%n);
is scalar(grep { $_->{state} eq 'succeeded' ? !length $_->{result} : !length($_->{error}{code} // '') } @ends), 0, 'with a result or a reason';
cmp_ok $n{succeeded}, '>=', $runs * 0.8, 'most with a result';

my ($served, $in, $out) = (0, 0, 0);
for ($models->served) { next if $_->{truncated}; $served++; $in += $_->{input_tokens}; $out += $_->{output_tokens} }
is $hive->psql("select count(*) || ' ' || sum(input_tokens) || ' ' || sum(output_tokens) from cell0.usage where state = 'succeeded'"),
    "$served $in $out", 'the ledger has what was served, to the token';
my %row = map { ($_ => 1) } split /\n/, $hive->psql('select id from cell0.usage');
my @asked = $models->requests;
is scalar(grep { !$row{$_} } @asked), 0, 'and every call that came';
# libcurl sends a request again, as it was, when a kept connection was closed
my %asked = map { ($_ => 1) } @asked;
is scalar(keys %row), scalar(keys %asked), 'and no other';
is $hive->psql("select count(*) from cell0.usage where state = 'open'"), 0, 'none is open';
is $hive->psql("select count(*) from cell0.usage where state = 'failed' and http_status is not null and nano_usd <> 0"), 0, 'an error costs nothing';
is $hive->psql('select coalesce(sum(cost_nano_usd), 0) from cell0.task_history') , $hive->psql('select sum(nano_usd) from cell0.usage'), 'tasks have cost what the ledger says';

$hive->stop;
$models->stop;
done_testing;
