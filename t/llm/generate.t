# generate.t: a model is asked by a task; what it says is live, what it cost is
# in the ledger, whatever became of it.

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
my $hive = Hive::Test->start(workers => 2, ini => { llm => { %{ $models->ini }, echo_rate => 0 } });
my $ada = $hive->register;
my $bob = $hive->register;

sub generate {
    my ($input, %o) = @_;
    my $res = $hive->post('/api/v1/tasks', $ada, { kind => 'generate', input => $input, backoff_ms => 50, %o });
    die $res->body unless $res->code == 201;
    return $res->json->{id};
}

sub ended {
    my ($id) = @_;
    my $task;
    $hive->wait_for(30, sub {
        $task = $hive->get("/api/v1/tasks/$id", $ada)->json;
        return $task->{state} =~ /^(?:succeeded|failed|cancelled)$/;
    }) or die "task $id does not end: " . encode_json($task);
    return $task;
}

sub rows { return map { decode_json($_) } split /\n/, $hive->psql("select row_to_json(u) from cell0.usage u where $_[0] order by id") // '' }

# ---- the catalogue ----

my ($status, $said) = $hive->load_models;
is $status, 0, 'the catalogue is loaded';
like $said, qr/^10 models new or changed$/, $said;
($status, $said) = $hive->load_models;
like $said, qr/^0 models/, 'once more is no change';

my $list = $hive->get('/api/v1/models', $ada)->json->{items};
is scalar @$list, 10, 'all are listed';
my %by = map { $_->{id} => $_ } @$list;
ok $by{echo}{ready} && $by{'claude-sonnet-5-5'}{ready}, 'those that can be asked say so';
ok !$by{'claude-3-opus-20240229'}{ready}, 'a retired one cannot';
is $by{'claude-3-opus-20240229'}{replacement}, 'claude-opus-5-5', 'and says what to take';
is $by{'claude-sonnet-5-5'}{prices}[0]{cache_read}, 100, 'the price in force is shown';
is scalar @{ $by{'claude-haiku-5-5'}{prices} }, 2, 'and its tiers';
is scalar @{ $hive->get('/api/v1/models?status=retired', $ada)->json->{items} }, 4, 'by status';
is $hive->get('/api/v1/models?status=old', $ada)->code, 422, 'a status that is none';
is $hive->get('/api/v1/models?x=1', $ada)->code, 422, 'a parameter that is none';
is $hive->get('/api/v1/models/claude-sonnet-5-5', $ada)->json->{display_name}, 'Claude Sonnet 5.5', 'one by itself';
is scalar @{ $hive->get('/api/v1/models/claude-sonnet-5-5', $ada)->json->{prices} }, 2, 'with all its prices';
is $hive->get('/api/v1/models/none', $ada)->code, 404, 'none of that name';

my $other = decode_json(Hive::Test::slurp("$Hive::Test::top/conf/models.json"));
$other->{models} = [grep { $_->{id} eq 'claude-opus-5-5' } @{ $other->{models} }];
$other->{models}[0]{prices}[0]{output} = 1;
Hive::Test::spew("$Bin/../../build/models-$$.json", encode_json($other));
($status, $said) = $hive->load_models("$Hive::Test::top/build/models-$$.json");
is $status, 1, 'a price that is there is not changed';
like $said, qr/claude-opus-5-5 has another price .* never changed/, $said;
$other->{models}[0]{prices}[0]{cache_write_5m} = 1;
$other->{models}[0]{colour} = 'red';
Hive::Test::spew("$Bin/../../build/models-$$.json", encode_json($other));
($status, $said) = $hive->load_models("$Hive::Test::top/build/models-$$.json");
is $status, 1, 'nor is nonsense loaded';
like $said, qr/unknown member "colour".*cache_write_5m is not about/s, $said;
unlink "$Hive::Test::top/build/models-$$.json";

# ---- one answer ----

my $id = generate({ model => 'claude-sonnet-5-5', prompt => 'Say something', system => 'Be brief', temperature => 0.5 });
my $task = ended($id);
is $task->{state}, 'succeeded', 'a model answers' or diag encode_json($task);
my ($served) = $models->served;
is $task->{result}{text}, $served->{content}, 'with what it said';
is $task->{result}{stop_reason}, 'end_turn', 'to its end';
is $served->{system}, 'Be brief', 'it was told the system prompt';
my ($row) = rows("task_id = '$id'");
is $row->{state}, 'succeeded', 'the ledger has it';
is $row->{input_tokens}, $served->{input_tokens}, 'with the tokens of input that the provider counted';
is $row->{output_tokens}, $served->{output_tokens}, 'and of output';
ok !$row->{estimated}, 'which are no estimate';
is $row->{nano_usd}, 2000 * $served->{input_tokens} + 10000 * $served->{output_tokens}, 'at the price in force';
is $task->{cost_nano_usd}, $row->{nano_usd}, 'the task has cost as much';
ok defined $row->{first_ms} && $row->{price_id}, 'when it began, and which price, stands there';

$id = generate({ model => 'claude-sonnet-5-5', prompt => 'All at once', stream => \0 });
$task = ended($id);
my ($last) = reverse $models->served;
is $task->{result}{text}, $last->{content}, 'a reply that is no stream';
is((rows("task_id = '$id'"))[0]{nano_usd}, 2000 * $last->{input_tokens} + 10000 * $last->{output_tokens}, 'costs the same');

# ---- live ----

{
    my $ws = Hive::WebSocket->connect(port => $hive->port, path => '/ws', headers => ["Authorization: Bearer $ada->{token}"]);
    my $later = generate({ model => 'claude-sonnet-5-5', prompt => 'WORDS-200' }, run_at => '2099-01-01T00:00:00Z');
    $ws->send_json({ type => 'subscribe', channel => "task:$later" });
    $ws->recv_until(5, sub { $_[0]{type} eq 'subscription_confirmed' });
    $hive->post("/api/v1/tasks/$later/run", $ada);
    my ($text, $pieces, $gaps) = ('', 0, 0);
    my $until = time + 20;
    while (time < $until) {
        my $event = $ws->recv_until(5, sub { $_[0]{type} eq 'message.delta' }) or last;
        my $data = $event->{data};
        $gaps++ if $data->{position} != length $text;
        $text .= $data->{text};
        $pieces++;
        last if $data->{done};
    }
    is $gaps, 0, 'each piece begins where the last ended';
    is $text, ended($later)->{result}{text}, "the text came live, in $pieces pieces";
    $ws->close(1000);
}

# ---- what fails ----

is ended(generate({ model => 'nobody', prompt => 'x' }))->{error}{code}, 'model_unknown', 'a model that is none';
is ended(generate({ model => 'claude-3-opus-20240229', prompt => 'x' }))->{error}{code}, 'model_retired', 'a retired model';
is ended(generate({ model => 'echo' }))->{error}{code}, 'invalid_input', 'no prompt';
is ended(generate({ model => 'echo', prompt => 'x', colour => 1 }))->{error}{code}, 'invalid_input', 'an unknown member';

is $hive->psql("select max(attempt) from cell0.task_history where state = 'failed'"), 1, 'none of them is tried again';

my $before = () = $models->served;
$models->chaos({ rateLimitRate => 1 });
$id = generate({ model => 'claude-haiku-5-5', prompt => 'x' }, max_attempts => 1);
$task = ended($id);
is $task->{error}{code}, 'provider_rate_limited', 'a provider that is asked too much';
my @rows = rows("task_id = '$id'");
is scalar @rows, 3, 'is asked three times';
is_deeply [map { "$_->{try} $_->{state} $_->{http_status} $_->{nano_usd}" } @rows], ['1 failed 429 0', '2 failed 429 0', '3 failed 429 0'], 'each try is in the ledger, and cost nothing';
$models->chaos({ malformedRate => 1 });
$id = generate({ model => 'claude-haiku-5-5', prompt => 'x' }, max_attempts => 1);
is ended($id)->{error}{code}, 'provider_stream_broken', 'what is no stream is a failure';
$models->chaos({ disconnectRate => 1 });
$id = generate({ model => 'claude-haiku-5-5', prompt => 'x' }, max_attempts => 1);
is ended($id)->{error}{code}, 'provider_unreachable', 'so is a connection that breaks';
ok((rows("task_id = '$id'"))[0]{estimated}, 'of which the tokens are an estimate');
$models->chaos({ dropRate => 1 });
$id = generate({ model => 'claude-haiku-5-5', prompt => 'x' }, max_attempts => 1);
is ended($id)->{error}{code}, 'provider_failed', 'so is a 500';
is scalar(() = $models->served), $before, 'nothing of that was served';
$models->chaos({});
is ended(generate({ model => 'claude-haiku-5-5', prompt => 'x' }))->{state}, 'succeeded', 'then it is well again';

# ---- echo ----

$task = ended(generate({ model => 'echo', prompt => 'Tell me of the sea' }));
like $task->{result}{text}, qr/^\[echo: Hive's built-in stand-in; no model was called\]\n/, 'echo says what it is';
like $task->{result}{text}, qr/Tell me of the sea/, 'and what it is about';
is ended(generate({ model => 'echo', prompt => 'Tell me of the sea' }))->{result}{text}, $task->{result}{text}, 'the same for the same';
$task = ended(generate({ model => 'echo', prompt => 'Tell me', max_tokens => 5 }));
is $task->{result}{stop_reason}, 'max_tokens', 'it obeys max_tokens';
is $task->{result}{usage}{output_tokens}, 5, 'exactly';
$task = ended(generate({ model => 'echo', prompt => 'x', schema => { type => 'object', required => ['a', 'b'],
    properties => { a => { type => 'string' }, b => { type => 'array', minItems => 2, items => { type => 'integer', minimum => 7 } }, c => { type => 'null' } } } }));
my $json = decode_json($task->{result}{text});
is ref $json, 'HASH', 'asked for JSON it says JSON';
ok defined $json->{a} && @{ $json->{b} } >= 2 && $json->{b}[0] == 7 && !exists $json->{c}, 'of that shape';

# a shape without end
my $shape = { type => 'integer' };
$shape = { type => 'array', minItems => 5, items => $shape } for 1 .. 15;
for my $large ($shape, { type => 'array', minItems => 2_000_000_000, items => { type => 'integer' } },
    { type => 'array', minItems => 100, maxItems => 100, items => { const => 'x' x 50_000 } }) {
    my $took = time;
    $task = ended(generate({ model => 'echo', prompt => 'x', schema => $large, max_tokens => 100_000 }));
    is $task->{state}, 'succeeded', 'a shape without end is filled as far as is sensible' or diag encode_json($task);
    is ref decode_json($task->{result}{text}), 'ARRAY', 'and is JSON still';
    cmp_ok time - $took, '<', 10, 'at once';
}

# ---- cancelled and killed ----

my $slow = Hive::Test::Models->start(latency => 100, chunk => 4);
my $second = Hive::Test->start(workers => 2, ini => { worker => { drain_timeout => '2s' }, llm => { %{ $slow->ini }, first_byte_timeout => '1s', idle_timeout => '5s' } });
my $eve = $second->register;
$second->load_models;
my $long = $second->post('/api/v1/tasks', $eve, { kind => 'generate', input => { model => 'claude-opus-5-5', prompt => 'WORDS-400' } })->json->{id};
my $usage = sub { $second->psql("select state || ' ' || (output_tokens > 0) from cell0.usage where task_id = '$_[0]' order by id") // '' };
ok $second->wait_for(20, sub { $usage->($long) =~ /^open true/ }), 'while it writes the ledger is told how far it is';
$second->post("/api/v1/tasks/$long/cancel", $eve);
ok $second->wait_for(10, sub { $usage->($long) =~ /^cancelled true/ }), 'a cancelled one is closed, and its tokens counted';
like $second->psql("select estimated::text || ' ' || (nano_usd > 0) from cell0.usage where task_id = '$long'"), qr/^true true/, 'by an estimate, which costs';
my $killed = $second->post('/api/v1/tasks', $eve, { kind => 'generate', input => { model => 'claude-opus-5-5', prompt => 'WORDS-300' } })->json->{id};
ok $second->wait_for(20, sub { $usage->($killed) =~ /^open true/ }), 'another one writes';
my $worker = $second->psql("select w.pid from cell0.tasks t join cell0.task_workers w on w.id = t.worker_id where t.id = '$killed'");
kill KILL => $worker;
ok $second->wait_for(30, sub { $usage->($killed) =~ /^lost true\n(?:open|succeeded)/ }), 'its process dies: the try is lost, another one is made';

$slow->chaos({ latencyMs => 4000 });
my $late = $second->post('/api/v1/tasks', $eve, { kind => 'generate', input => { model => 'claude-opus-5-5', prompt => 'x' }, max_attempts => 1 })->json->{id};
ok $second->wait_for(30, sub { ($second->get("/api/v1/tasks/$late", $eve)->json->{error}{code} // '') eq 'provider_timed_out' }), 'one that does not begin in time';
is scalar(() = $usage->($late) =~ /^failed/mg), 3, 'three times';

my $whole = $second->post('/api/v1/tasks', $eve, { kind => 'generate', input => { model => 'claude-opus-5-5', prompt => 'x', stream => \0 }, max_attempts => 1 })->json->{id};
ok $second->wait_for(30, sub { $second->get("/api/v1/tasks/$whole", $eve)->json->{state} eq 'succeeded' }), 'what is no stream says nothing until it is there, and is waited for';

# ---- usage ----

my $sums = $hive->get('/api/v1/usage?by=model', $ada)->json->{items};
my %used = map { $_->{model} => $_ } @$sums;
is $used{'claude-sonnet-5-5'}{tries}, 3, 'usage counts';
is $used{'claude-sonnet-5-5'}{nano_usd}, $hive->psql("select sum(nano_usd) from cell0.usage where model_id = 'claude-sonnet-5-5'") + 0, 'and sums';
is_deeply $hive->get('/api/v1/usage', $bob)->json->{items}, [], "nobody sees another's";
is $hive->get('/api/v1/usage?by=hour', $ada)->code, 422, 'by what it knows only';
$hive->psql("insert into cell0.usage select (jsonb_populate_record(null::cell0.usage, to_jsonb(u) || jsonb_build_object('id', gen_random_uuid(), 'swarm_id', gen_random_uuid()))).*
    from (select * from cell0.usage where owner_id = '$ada->{id}' limit 1) u, generate_series(1, 1001)");
is $hive->get('/api/v1/usage?by=swarm', $ada)->json->{code}, 'too_many_rows', 'what does not fit is not cut off in silence';
is $hive->get('/api/v1/usage?by=day', $ada)->code, 200, 'by less it fits';

$second->stop;
$slow->stop;
$hive->stop;
$models->stop;
done_testing;
