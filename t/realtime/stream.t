# stream.t: the live stream as its clients see it: who may connect and how, what
# is said to whom, what resumes, what is limited; WebSocket, server-sent events
# and history

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Hive::Test::Publisher;
use Hive::WebSocket;
use IO::Select;
use Mojo::JSON qw(decode_json encode_json);
use Test::More;
use Time::HiRes qw(sleep time);

my $hive = Hive::Test->start(workers => 2, nginx_workers => 1, ini => { llm => { echo_rate => 40 } }, http => join "\n",
    'hive_live_connections 12;', 'hive_live_subscriptions 4;', 'hive_live_check 1s;', 'hive_websocket_rate 20;',
    'hive_websocket_origins https://good.example;', 'hive_live_queue 64k;', 'hive_websocket_ping 3s 2s;');
my ($ada, $eve) = map { $hive->register } 1 .. 2;
my $root = $hive->register;
$hive->psql("update hive.users set is_superuser = true where id = '$root->{id}'");
$hive->login($root);

sub project { my $res = $hive->post('/api/v1/projects', $_[0], { name => 'Live' }); return $res->json->{id} // die $res->body }
sub change { my ($id, $text) = @_; my $res = $hive->patch("/api/v1/projects/$id", $ada, { description => $text // 'change ' . rand }); die $res->body unless ($res->code // 0) == 200; return }
sub bearer { "Authorization: Bearer $_[0]{token}" }
sub ws { my ($user, %o) = @_; return Hive::WebSocket->connect(port => $hive->port, path => '/ws', %o, headers => [$user ? bearer($user) : (), @{ $o{headers} // [] }]) }
sub welcomed { my $ws = ws(@_); my $first = $ws->recv(5); is $first->{type}, 'connection_established', 'connected'; return $ws }
sub ask { my ($ws, $message) = @_; my $id = int rand 1e9; $ws->send_json({ %$message, id => $id }); return $ws->recv_until(5, sub { ($_[0]{id} // '') eq $id }) }
sub sub_to { my ($ws, $channel, %more) = @_; return ask($ws, { type => 'subscribe', channel => $channel, %more }) }
sub metric { my ($name) = @_; return $hive->get('/metrics')->body =~ /^hive_$name (\d+)/m ? $1 : undef }

my $project = project($ada);
my $channel = "project:$project";
my $publisher = Hive::Test::Publisher->new($hive, $channel);

subtest 'who may connect, and how' => sub {
    my $first = ws($ada)->recv(5);
    is $first->{user_id}, $ada->{id}, 'the Authorization header';
    is_deeply $first->{heartbeat}, { interval_ms => 3000, timeout_ms => 2000 }, 'it says how it sees that one lives';
    my $ws = ws(undef, headers => ["Sec-WebSocket-Protocol: hive.v1, bearer.$ada->{token}"]);
    is $ws->header('Sec-WebSocket-Protocol'), 'hive.v1', 'a subprotocol: the answer does not repeat the token';
    is $ws->recv(5)->{user_id}, $ada->{id}, 'and it is whose it says';
    is ws(undef, path => "/ws/$ada->{token}")->recv(5)->{user_id}, $ada->{id}, 'the path';
    my $ticket = $hive->post('/api/v1/auth/ticket', $ada)->json->{ticket};
    is ws(undef, path => "/ws?ticket=$ticket")->recv(5)->{user_id}, $ada->{id}, 'a ticket';
    is ws(undef, path => "/ws?ticket=$ticket", any => 1)->status, 401, 'once';
    $ticket = $hive->post('/api/v1/auth/ticket', $ada)->json->{ticket};
    is ws(undef, path => "/ws/$ticket")->recv(5)->{user_id}, $ada->{id}, 'a ticket in the path';
    is ws(undef, any => 1)->status, 401, 'nobody: 401';
    is ws({ token => 'a.b.c' }, any => 1)->status, 401, 'a token that is none: 401';
    is ws(undef, path => '/ws/nonsense', any => 1)->status, 401, 'a ticket that never was: 401';
    is ws($ada, headers => ['Origin: https://evil.example'], any => 1)->status, 403, 'a page of another origin: 403';
    is ws($ada, headers => ['Origin: https://good.example'], any => 1)->status, 101, 'one that is listed';
    is $hive->get('/ws', $ada)->code, 426, 'what is no WebSocket: 426';
    is $hive->get("/ws?batch_ms=2000", $ada)->code, 426, 'before anything else';
    is ws($ada, path => '/ws?batch_ms=2000', any => 1)->status, 422, 'a batch_ms out of range';
    sleep 0.3;
    my $logs = join '', map { $hive->log($_) } qw(nginx access);
    unlike $logs, qr/\Q$ada->{token}\E/, 'no log has the token of the path';
    like $logs, qr{"path":"/ws/-"}, 'but that there was one';
};

subtest 'what is said' => sub {
    my $ws = welcomed($ada);
    like ask($ws, { type => 'ping' })->{server_time}, qr/^\d{4}-.*Z$/, 'ping, pong';
    for (['{"type":', 'malformed_json'], ['[1]', 'malformed_json'], ['{"type":"dance"}', 'unknown_type'], ['{"type":7}', 'invalid_message'],
        ['{"type":"subscribe"}', 'invalid_message'], ['{"type":"subscribe","channel":"Project:x"}', 'invalid_message'],
        ['{"type":"subscribe_project","project_id":"x"}', 'invalid_message'], ['{"type":"ping","type":"ping"}', 'malformed_json'],
        ['{"type":"subscribe","channel":"system","since":{"offset":1}}', 'invalid_message'],
        ['{"type":"subscribe","channel":"system","types":[]}', 'invalid_message'],
        ['{"type":"client_metrics","lag_ms":-1}', 'invalid_message'], ['{"type":"authenticate","token":"x"}', 'token_invalid']) {
        $ws->send_text($_->[0]);
        is $ws->recv(5)->{code}, $_->[1], "$_->[0]: $_->[1]";
    }
    is sub_to($ws, "project:$eve->{id}")->{code}, 'not_allowed', 'what there is not';
    is sub_to($ws, 'unicorn:1')->{code}, 'not_allowed', 'of a kind that there is not';
    my $stats = ask($ws, { type => 'get_stats' });
    is scalar @{ $stats->{subscriptions} }, 0, 'none of these stands';
    cmp_ok $stats->{messages_in}, '>', 10, 'and the connection does';
    is ask($ws, { type => 'authenticate', token => $ada->{token} })->{type}, 'authenticated', 'a newer token';
    is ask($ws, { type => 'authenticate', token => $eve->{token} })->{code}, 'token_invalid', 'not of another user';
};

subtest 'events' => sub {
    my $ws = welcomed($ada);
    my $confirmed = ask($ws, { type => 'subscribe_project', project_id => $project });
    is_deeply [@$confirmed{qw(type channel resource_type resource_id offset)}], ['subscription_confirmed', $channel, 'project', $project, 1], 'confirmed';
    ok $confirmed->{recovered}, 'nothing is missing';
    change($project) for 1 .. 3;
    is_deeply [map { my $e = $ws->recv(5); "$e->{type} $e->{offset}" } 1 .. 3], [map { "project.updated $_" } 2 .. 4], 'each, in order';
    is sub_to(welcomed($eve), $channel)->{code}, 'not_allowed', 'nobody else may watch';

    my $picky = welcomed($ada);
    sub_to($picky, $channel, types => ['project.arch*', 'project.unarchived']);
    change($project);
    $hive->post("/api/v1/projects/$project/$_", $ada) for qw(archive unarchive);
    is_deeply [map { $picky->recv(5)->{type} } 1 .. 2], ['project.archived', 'project.unarchived'], 'a filter';

    my $state = ask($picky, { type => 'state_sync', channel => $channel });
    is_deeply [@$state{qw(type offset)}, $state->{data}{id}], ['state', 7, $project], 'the object as of an offset';
    change($project, 'then live');
    is $picky->recv(5)->{offset}, 8, 'then live';

    my $hasty = welcomed($ada);
    $hasty->write(join '', map { Hive::WebSocket::frame(text => qq({"type":"$_","id":"$_","channel":"$channel"})) } qw(subscribe state_sync));
    is_deeply [map { my $m = $hasty->recv(5); join ' ', $m->{type}, $m->{code} // '', $m->{id} } 1 .. 2],
        ['error superseded subscribe', 'state  state_sync'], 'both of two at once are answered';

    is ask($ws, { type => 'unsubscribe', channel => $channel })->{reason}, 'requested', 'unsubscribed';
    change($project);
    is ask($ws, { type => 'ping' })->{type}, 'pong', 'and nothing more comes';
};

subtest 'who comes back' => sub {
    my $ws = welcomed($ada);
    my $now = sub_to($ws, $channel);
    my ($epoch, $head) = @$now{qw(epoch offset)};
    $ws->drop;
    change($project) for 1 .. 3;
    $ws = welcomed($ada);
    my $back = sub_to($ws, $channel, since => { epoch => $epoch, offset => $head });
    is_deeply [@$back{qw(offset recovered)}], [$head, Mojo::JSON->true], 'resumed';
    is_deeply [map { $ws->recv(5)->{offset} } 1 .. 3], [$head + 1 .. $head + 3], 'with all that was missed';
    my $second = welcomed($ada);
    sub_to($second, $channel, since => { epoch => $epoch, offset => 0 });
    is_deeply [map { $second->recv(5)->{offset} } 1 .. $head + 3], [1 .. $head + 3], 'from the beginning, while another watches';
    for ([{ epoch => 'another', offset => 1 }, 'of another epoch'], [{ epoch => $epoch, offset => 10_000 }, 'of an offset that has not been']) {
        my $lost = sub_to($ws, $channel, since => $_->[0]);
        is_deeply [@$lost{qw(offset recovered)}], [$head + 3, Mojo::JSON->false], "not recovered: $_->[1]";
    }
    $hive->psql("delete from cell0.events where channel = '$channel' and \"offset\" < $head");
    is sub_to($ws, $channel, since => { epoch => $epoch, offset => 1 })->{recovered}, Mojo::JSON->false, 'of what is not kept any more';
};

subtest 'an event whose publisher died' => sub {
    my $ws = welcomed($ada);
    my $at = sub_to($ws, $channel)->{offset};
    $hive->psql("with p as (update cell0.projects set event_seq = event_seq + 1 where id = '$project' returning event_seq) "
        . "insert into cell0.events (channel, \"offset\", type, data) select '$channel', event_seq, 'project.updated', '{}' from p");
    is(($ws->recv(5) // {})->{offset}, $at + 1, 'comes all the same, late');
    $hive->psql("with p as (update cell0.projects set event_seq = event_seq + 1 where id = '$project' returning event_seq) "
        . "insert into cell0.events (channel, \"offset\", type, data) select '$channel', event_seq, 'project.updated', '{}' from p");
    change($project);
    is_deeply [map { $ws->recv(5)->{offset} } 1 .. 2], [$at + 2, $at + 3], 'and before the one after it';
    cmp_ok metric('event_gaps_total'), '>=', 1, 'the gap is counted';
};

subtest 'access that is withdrawn' => sub {
    my $id = project($ada);
    my $ws = welcomed($ada);
    sub_to($ws, "project:$id");
    is $hive->delete("/api/v1/projects/$id", $ada)->code, 204, 'it is deleted';
    is $ws->recv(5)->{type}, 'project.deleted', 'the last event';
    is_deeply [@{ $ws->recv(5) }{qw(type channel reason)}], ['unsubscribed', "project:$id", 'access_withdrawn'], 'and the end';
    is scalar @{ ask($ws, { type => 'get_stats' })->{subscriptions} }, 0, 'the subscription is gone';
};

subtest 'to a user' => sub {
    my @all = (welcomed($ada), welcomed($ada));
    my $other = welcomed($eve);
    is $hive->post('/api/v1/websocket/send', $root, { user_id => $ada->{id}, type => 'notice.posted', data => { text => 'hello' } })->code, 202, 'sent';
    is_deeply [map { my $m = $_->recv(5); [@$m{qw(type data)}] } @all], [map { ['notice.posted', { text => 'hello' }] } @all], 'every connection has it';
    is ask($other, { type => 'ping' })->{type}, 'pong', 'and nobody else';
    is $hive->post('/api/v1/websocket/send', $ada, { user_id => $eve->{id}, type => 'notice.posted', data => {} })->code, 403, 'only administrators send';
};

subtest 'presence' => sub {
    my $ws = welcomed($ada);
    sub_to($ws, $channel, presence => \1);
    my $join = $ws->recv(6);
    is_deeply [@$join{qw(type data)}], ['presence.join', { user_id => $ada->{id} }], 'one sees oneself come';
    is_deeply ask($ws, { type => 'presence', channel => $channel })->{users}, [{ user_id => $ada->{id}, connections => 1 }], 'who is there';
    my $second = welcomed($ada);
    sub_to($second, $channel, presence => \1);
    ok $hive->wait_for(6, sub { (ask($ws, { type => 'presence', channel => $channel })->{users}[0] // {})->{connections} == 2 }), 'twice';
    is ask($ws, { type => 'presence', channel => "project:$eve->{id}" })->{code}, 'not_allowed', 'not of what is not theirs';
    $ws->drop;
    $second->drop;
    my $later = welcomed($ada);
    sub_to($later, $channel);
    ok $hive->wait_for(6, sub { !@{ ask($later, { type => 'presence', channel => $channel })->{users} } }), 'gone with the connections';
};

subtest 'texts that grow' => sub {
    my $ws = welcomed($ada);
    sub_to($ws, $channel);
    my $at = 0;
    for my $word (qw(one two three four)) { $publisher->say("\@delta m1 $at $word "); $at += 1 + length $word }
    my ($text, $frames) = ('', 0);
    while (length $text < 19) {
        my $m = $ws->recv(5) or last;
        is $m->{data}{position}, length $text, "position $m->{data}{position}" if !$frames || $m->{data}{position} != length $text;
        $text .= $m->{data}{text};
        $frames++;
    }
    is $text, 'one two three four ', 'arrive whole';
    cmp_ok $frames, '<', 4, "in fewer messages ($frames)";
    my $late = welcomed($ada);
    sub_to($late, $channel);
    is $late->recv(5)->{data}{text}, $text, 'who comes late gets all of it';
    $publisher->say("\@delta m1 0 one two");
    $publisher->say("\@delta m1 14 four \xe2\x82");
    $publisher->say("\@done m1 21 \xac.");
    my $end = $late->recv(5)->{data};
    is $end->{text}, "\x{20ac}.", 'what one has is not told again, and a character in two pieces comes in one';
    ok $end->{done}, 'and the last says that it is';
    my $after = welcomed($ada);
    sub_to($after, $channel);
    is ask($after, { type => 'ping' })->{type}, 'pong', 'what is done is not told again';
    $publisher->say('@delta m2 5 of what nobody has the beginning');
    $publisher->say('@delta m2 0 a');
    $publisher->say('@delta m2 1 b');
    sleep 0.002;
    change($project);
    my @seen = map { my $m = $after->recv(5); $m->{data}{text} // $m->{type} } 1 .. 3;
    is_deeply \@seen, ['a', 'b', 'project.updated'], 'an event goes after what there is of a text' or diag "@seen";
    $publisher->say('@delta m2 3 d');
    my $gap = $after->recv(5)->{data};
    is "$gap->{position} $gap->{text}", '3 d', 'what was lost shows in the place of what follows';
};

subtest 'many texts at once' => sub {
    my $ws = welcomed($ada);
    sub_to($ws, $channel);
    my %text;
    for my $piece (0 .. 2) { $publisher->say("\@delta many$_ $piece " . substr 'abc', $piece, 1) for 1 .. 200 }
    while (keys %text < 200 or grep { $_ ne 'abc' } values %text) {
        my $data = ($ws->recv_until(5, sub { ($_[0]{data}{id} // '') =~ /^many/ }) // last)->{data};
        $text{ $data->{id} } .= $data->{text};
    }
    is scalar(grep { $_ eq 'abc' } values %text), 200, 'none gives way to another that grows';
    $publisher->say("\@delta stale$_ 0 x") for 1 .. 250;
    $publisher->say("\@delta many200 3 d");
    ok $ws->recv_until(5, sub { ($_[0]{data}{id} // '') eq 'many200' && $_[0]{data}{text} eq 'd' }), 'the one that grew last stays longest';
    $publisher->say("\@delta many1 3 d");
    $publisher->say("\@delta last 0 x");
    is $ws->recv_until(5, sub { ($_[0]{data}{id} // '') =~ /^(?:many1|last)$/ })->{data}{id}, 'last', 'what nobody went on with is forgotten';
};

subtest 'a text that nobody has watched so far' => sub {
    $hive->load_models;
    my $task = $hive->post('/api/v1/tasks', $ada, { kind => 'generate', input => { model => 'echo', prompt => join ' ', map { "word$_" } 1 .. 60 } })->json;
    ok $hive->wait_for(10, sub { $hive->get("/api/v1/tasks/$task->{id}", $ada)->json->{state} eq 'running' }), 'is being written';
    sleep 0.7;
    my @watchers = map { my $ws = welcomed($ada); sub_to($ws, "task:$task->{id}"); sleep 0.3; $ws } 1 .. 2;
    for my $ws (@watchers) {
        my ($text, $first) = '';
        while (my $event = $ws->recv_until(5, sub { $_[0]{type} eq 'message.delta' })) {
            my $data = $event->{data};
            $first //= $data->{text};
            $data->{position} == length $text or fail "position $data->{position} after " . length $text;
            $text .= $data->{text};
            last if $data->{done};
        }
        cmp_ok length $first, '>', 60, 'what there was of it comes first';
        $hive->wait_for(5, sub { $hive->get("/api/v1/tasks/$task->{id}", $ada)->json->{state} eq 'succeeded' });
        is $text, $hive->get("/api/v1/tasks/$task->{id}", $ada)->json->{result}{text}, 'all of it comes, once';
    }
};

subtest 'batches' => sub {
    my $ws = ws($ada, path => '/ws?batch_ms=300');
    is $ws->recv(5)->{batch_ms}, 300, 'asked for';
    $ws->send_json({ type => 'subscribe', channel => $channel });
    is $ws->recv(5)->{type}, 'subscription_confirmed', 'one alone is no array';
    change($project) for 1 .. 3;
    my $batch = $ws->recv(5);
    is ref $batch, 'ARRAY', 'several are one message';
    is scalar @$batch, 3, 'all of them' if ref $batch;
};

subtest 'compressed' => sub {
    my $ws = ws($ada, deflate => 1);
    is $ws->recv(5)->{type}, 'connection_established', 'a client that asks for it';
    $ws->send_json({ type => 'subscribe', channel => $channel });
    is $ws->recv(5)->{type}, 'subscription_confirmed', 'is understood';
    change($project);
    is $ws->recv(5)->{type}, 'project.updated', 'and told';
};

subtest 'limits' => sub {
    my $ws = welcomed($ada);
    my @mine = map { project($ada) } 1 .. 5;
    is_deeply [map { sub_to($ws, "project:$_")->{type} } @mine[0 .. 3]], [('subscription_confirmed') x 4], 'as many subscriptions as may be';
    is sub_to($ws, "project:$mine[4]")->{code}, 'too_many_subscriptions', 'not one more';
    is sub_to($ws, "project:$mine[0]")->{type}, 'subscription_confirmed', 'but again to one there is';
    $ws->send_json({ type => 'ping' }) for 1 .. 40;       # what is left of a new connection's room
    $ws->recv_until(5, sub { ($_[0]{code} // '') eq 'rate_limited' }) or fail 'it has an end';
    sleep 2.1;
    while (my $m = $ws->recv(0.1)) { last if $m->{close} }
    $ws->send_json({ type => 'ping' }) for 1 .. 60;
    my %got;
    for (1 .. 60) { my $m = $ws->recv(5) // last; $got{ $m->{code} // $m->{type} }++ }
    cmp_ok $got{rate_limited}, '>=', 15, 'too many messages: some are dropped, and said so' or diag explain \%got;
    cmp_ok $got{pong}, '>=', 40, 'as many as may be are answered';
    undef $ws;
    sleep 0.2;
    my @many = map { ws($eve) } 1 .. 12;
    is_deeply [grep { $_->recv(5)->{type} ne 'connection_established' } @many], [], 'twelve connections';
    is_deeply ws($eve)->recv(5), { close => 1008, reason => 'too_many_connections' }, 'not a thirteenth';
    pop(@many)->close(1000);
    ok $hive->wait_for(5, sub { (ws($eve)->recv(5) // {})->{type} }), 'but when one has gone';
    is_deeply [grep { !defined } map { $_->recv(0.01) ? 1 : 1 } @many], [], 'the others stay';
};

subtest 'who does not answer, who does not read' => sub {
    my $deaf = welcomed($ada);
    my $before = metric('websocket_timeouts_total');
    sleep 6;
    is(($deaf->frames(3))[-1]{eof}, 1, 'a ping without a pong ends the connection');
    cmp_ok metric('websocket_timeouts_total'), '>', $before, 'and is counted';

    my $ws = ws($ada);
    $ws->recv(5);
    sub_to($ws, $channel);
    my $slow = metric('live_slow_total');
    $publisher->say('x' x 20_000) for 1 .. 600;
    ok $hive->wait_for(10, sub { metric('live_slow_total') > $slow }), 'one that does not read is found';
    my $close;
    for (1 .. 700) { my $m = $ws->recv(3) // last; if ($m->{close}) { $close = $m; last } }
    is_deeply $close, { close => 1013, reason => 'slow_consumer' }, 'and told, when it reads again';
    is metric('live_queued_bytes'), 0, 'nothing waits any more';
};

# ---- server-sent events ----

sub sse {
    my ($path, @headers) = @_;
    my $socket = $hive->connect;
    $socket->syswrite(join "\r\n", "GET $path HTTP/1.1", 'Host: x', @headers, '', '');
    return { socket => $socket, text => '' };
}

# The next event; undef when there is none in time.
sub next_event {
    my ($sse, $seconds) = @_;
    my $until = time + $seconds;
    while (1) {
        if (!$sse->{head} && $sse->{text} =~ s/^(.*?\r\n)\r\n//s) { $sse->{head} = $1 }
        if ($sse->{head}) {
            # chunks are whole events here
            while ($sse->{text} =~ s/^([0-9a-f]+)\r\n//) {
                my $n = hex $1;
                if (length $sse->{text} < $n + 2) { $sse->{text} = "$1\r\n$sse->{text}"; last }
                $sse->{body} .= substr $sse->{text}, 0, $n;
                substr($sse->{text}, 0, $n + 2) = '';
                $sse->{end} = 1 unless $n;
            }
            $sse->{body} //= '';
            if ($sse->{body} =~ s/^(.*?)\n\n//s) {
                my %event = map { /^(\w+): (.*)/ ? ($1 => $2) : () } split /\n/, $1;
                next unless %event;
                $event{data} = decode_json($event{data});
                return \%event;
            }
        }
        return if $sse->{end} || $until <= time;
        IO::Select->new($sse->{socket})->can_read($until - time) or return;
        $sse->{socket}->sysread($sse->{text}, 65536, length $sse->{text}) or return;
    }
}

subtest 'server-sent events' => sub {
    my ($first, $second) = (project($ada), project($ada));
    my $channel = "project:$first";
    my $sse = sse("/api/v1/events?channels=$channel,project:$second", bearer($ada));
    is next_event($sse, 5)->{event}, 'connection_established', 'connected';
    like $sse->{head}, qr{content-type: text/event-stream}i, 'as such';
    my @confirmed = map { next_event($sse, 5) } 1 .. 2;
    is_deeply [sort map { $_->{data}{channel} } @confirmed], [sort $channel, "project:$second"], 'both channels';
    change($second);
    my $event = next_event($sse, 5);
    is_deeply [@$event{qw(event)}, @{ $event->{data} }{qw(channel offset)}], ['project.updated', "project:$second", 2], 'an event';
    like $event->{id}, qr/^\w+:\d+,\w+:2$/, 'its id is where both are';
    close $sse->{socket};
    change($_) for $first, $second, $second;
    $sse = sse("/api/v1/events?channels=$channel,project:$second", bearer($ada), "Last-Event-ID: $event->{id}");
    my @all = map { next_event($sse, 5) } 1 .. 6;
    is_deeply [grep { !$_ } map { $_->{data}{recovered} } grep { $_->{event} eq 'subscription_confirmed' } @all], [], 'resumed by Last-Event-ID';
    is_deeply [map { $_->{data}{offset} } grep { $_->{event} eq 'project.updated' && $_->{data}{channel} eq "project:$second" } @all], [3, 4], 'with what was missed of each';
    is scalar(grep { $_->{event} eq 'project.updated' && $_->{data}{channel} eq $channel } @all), 1, 'once';
    is $hive->get("/api/v1/events?channels=$channel")->code, 401, 'nobody: 401';
    my $ticket = $hive->post('/api/v1/auth/ticket', $ada)->json->{ticket};
    is next_event(sse("/api/v1/events?channels=$channel&ticket=$ticket"), 5)->{event}, 'connection_established', 'a ticket, for EventSource';
    is $hive->get('/api/v1/events', $ada)->code, 422, 'of what?';
    my $hers = sse("/api/v1/events?channels=$channel&types=project.archived", bearer($eve));
    next_event($hers, 5);
    is next_event($hers, 5)->{data}{code}, 'not_allowed', 'what is not theirs';
    ok $hive->wait_for(5, sub { metric('sse_connections') <= 3 }), 'those that hang up are gone';
};

subtest 'history' => sub {
    my $id = project($ada);
    my $path = "/api/v1/events/history?channel=project:$id";
    change($id) for 1 .. 4;
    my $page = $hive->get("$path&limit=3", $ada)->json;
    is_deeply [map { $_->{offset} } @{ $page->{events} }], [1, 2, 3], 'from the beginning, as many as asked for';
    is_deeply [@$page{qw(offset more recovered)}], [3, Mojo::JSON->true, Mojo::JSON->true], 'and there is more';
    $page = $hive->get("$path&after=3&epoch=$page->{epoch}", $ada)->json;
    is_deeply [map({ $_->{offset} } @{ $page->{events} }), $page->{more}], [4, 5, Mojo::JSON->false], 'the rest';
    my $began = time;
    $page = $hive->get("$path&after=5&wait=1", $ada)->json;
    cmp_ok time - $began, '>', 0.8, 'nothing new: it waits';
    is_deeply $page->{events}, [], 'and says so';
    my $pid = fork // die;
    if (!$pid) { sleep 0.5; system 'curl', '-s', '-m', '5', '-o', '/dev/null', '-X', 'PATCH', '-H', bearer($ada), '-H', 'Content-Type: application/json', '-d', '{"description":"new"}', $hive->url("/api/v1/projects/$id"); require POSIX; POSIX::_exit(0) }
    $began = time;
    $page = $hive->get("$path&after=5&wait=20", $ada)->json;
    waitpid $pid, 0;
    is_deeply [map { $_->{offset} } @{ $page->{events} }], [6], 'it waits no longer than until there is something';
    cmp_ok time - $began, '<', 4, sprintf 'at once (%.2f s)', time - $began;
    is $hive->get($path, $eve)->code, 404, 'what is not theirs';
    is $hive->get("$path&after=x", $ada)->code, 422, 'no offset';
    is $hive->get("$path&wait=61", $ada)->code, 422, 'too long a wait';
    is $hive->get('/api/v1/events/history', $ada)->code, 422, 'of what?';
};

subtest 'statistics' => sub {
    is $hive->get('/api/v1/websocket/health')->json->{status}, 'ok', 'health';
    my $ws = welcomed($ada);
    sub_to($ws, $channel);
    my $stats = $hive->get('/api/v1/websocket/stats', $root)->json;
    is_deeply [$stats->{connections}{websocket} >= 1, $stats->{subscriptions} >= 1, $stats->{users} >= 1], [1, 1, 1], 'for administrators';
    is $hive->get('/api/v1/websocket/stats', $ada)->code, 403, 'only';
    is metric('websocket_connections'), $stats->{connections}{websocket}, 'as /metrics has it';
};

$publisher->end;
$hive->stop;
done_testing;
