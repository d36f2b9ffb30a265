# dispatch.t: what the module promises about every request it gives to a
# worker, whatever the worker does: it answers late, never, twice, with
# nonsense, or dies. The worker is a double (t/lib/fake_worker.c) that does
# what the query says.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Digest::SHA qw(hmac_sha256);
use MIME::Base64 qw(encode_base64url);
use Mojo::JSON qw(encode_json decode_json false);
use Mojo::Promise;
use Test::More;
use Time::HiRes qw(time sleep);

my $id = '018f0000-0000-7000-8000-00000000000a';
my $hive = Hive::Test->start(postgres => 0, worker => 0, wait => 0, workers => 2, nginx_workers => 1,
    http => "    hive_max_in_flight 6;\n    hive_deadline read 4s;\n    hive_deadline write 4s;");
my $user = { token => token() };

sub token {
    my $now = time;
    my $text = join '.', map { encode_base64url(encode_json($_)) }
        { alg => 'HS256', typ => 'JWT', kid => 'dev' },
        { iss => 'hive', aud => 'hive', sub => $id, sid => $id, jti => 'x', iat => int $now, nbf => int $now,
          exp => int($now) + 3600, email => 'ada@example.test', name => 'Ada', superuser => false };
    return "$text." . encode_base64url(hmac_sha256($text, $hive->secret));
}

# ---- doubles: one a slot ----

my %fake;

sub fake {
    my ($slot) = @_;
    my $log = "$slot-" . keys(%{ $fake{all} }) . '.fake';
    my $mask = umask 0;    # nginx's workers are somebody else
    my $process = Hive::Test::Process->start(name => 'fake', log => $hive->dir . "/log/$log", env => { Hive::Test::sanitizer_env() },
        command => [$hive->build . '/t/fake_worker', '-v', 'ipc://' . $hive->pg_host . "/worker.${slot}a"]);
    umask $mask;
    $fake{all}{$log} = $process;
    my $self = { process => $process, log => $log };
    ok $hive->wait_for(10, sub { said($self, 'ping') }), "a worker serves in slot $slot";
    return $self;
}

sub said {
    my ($fake, $what) = @_;
    return scalar(() = $hive->log($fake->{log}) =~ /^\Q$what\E\b/mg);
}

sub gone {
    my ($fake) = @_;
    $fake->{process}->signal('KILL');
    $fake->{process}->wait_end(5);
    return;
}

sub up { $hive->metric('hive_workers_up') }

END {
    my $status = $?;
    $_->stop('KILL', 5) for values %{ $fake{all} // {} };
    $? = $status;
}

# Starts a request; the returned sub waits for its response.
sub begin {
    my ($method, $path, $headers, $body) = @_;
    my ($done, $tx);
    $hive->ua->start_p($hive->ua->build_tx($method => $hive->url($path) => { Authorization => "Bearer $user->{token}", %{ $headers // {} } }
        => ($body // ())))->then(sub { $tx = shift })->catch(sub { })->finally(sub { $done = 1 });
    return sub {
        Mojo::IOLoop->one_tick until $done;
        return $tx && $tx->res;
    };
}

# Lets the requests that have begun go on until that is so.
sub until_so {
    my ($code) = @_;
    my $until = time + 5;
    my $tick = Mojo::IOLoop->recurring(0.02 => sub { });
    Mojo::IOLoop->one_tick until $code->() || time > $until;
    Mojo::IOLoop->remove($tick);
    return $code->();
}

my $there = "/api/v1/projects/$id";

is $hive->get($there, $user)->json->{code}, 'no_worker', 'nobody there: refused at once, by name';

my $one = fake(0);
ok $hive->wait_for(5, sub { up() == 1 }), 'one is up';

subtest 'what a worker is told' => sub {
    my $trace = '4bf92f3577b34da6a3ce929d0e0e4736';
    my $res = $hive->get("$there?a=%41&b", $user, undef, { traceparent => "00-$trace-00f067aa0ba902b7-01", 'If-None-Match' => '"7"' });
    is $res->code, 200, 'answered';
    my $told = $res->json;
    is $told->{operation}, 'project_get', 'the name of the operation';
    is_deeply $told->{params}, [$id], 'its parameters';
    is $told->{query}, 'a=%41&b', 'the query as it came';
    is $told->{user}, $id =~ s/-//gr, 'who asks';
    is $told->{request_id}, $res->headers->header('X-Request-Id'), 'the request id that the client gets';
    is $told->{trace_id}, $trace, 'the trace id';
    is $told->{headers}{'if-none-match'}, '"7"', 'the headers that count';
    cmp_ok $told->{deadline_ms}, '<=', 4000, 'how long it has';
    cmp_ok $told->{deadline_ms}, '>', 3500, 'which is of its class';
    unlike $res->body, qr/\Q$user->{token}\E|[Bb]earer/, 'never a token';
};

subtest 'a large body, which nginx has in a file' => sub {
    my $body = encode_json({ config => join ',', map { $_ * 7919 } 1 .. 80000 });
    my $sum = 2166136261;
    $sum = (($sum ^ ord) * 16777619) & 0xffffffff for split //, $body;
    my $res = $hive->put("$there/config", $user, undef, { 'Content-Type' => 'application/json', _body => $body });
    is $res->code, 200, 'answered';
    is $res->json->{body_len}, length $body, length($body) . ' bytes';
    is $res->json->{body_fnv}, $sum, 'each as it was sent';
};

subtest 'streams' => sub {
    my $res = $hive->get('/api/v1/projects?stream=50&size=20000', $user);
    is $res->code, 200, 'status';
    is length $res->body, 50 * 20000, 'every chunk';
    cmp_ok said($one, 'credit'), '>', 5, 'for credit';
    my $text = $hive->raw("GET /api/v1/projects?stream=3&size=100&broken HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $user->{token}\r\n\r\n");
    like $text, qr{^HTTP/1\.1 200 }, 'one that breaks has begun well';
    unlike $text, qr/\r\n0\r\n\r\n\z/, 'but is not ended as if it were whole';
};

subtest 'the deadline' => sub {
    my ($expired, $began) = ($hive->metric('hive_requests_expired_total'), time);
    my $res = $hive->get("$there?silence", $user);
    my $took = time - $began;
    is $res->code, 504, 'no reply is 504';
    is $res->json->{code}, 'deadline_exceeded', 'by name';
    cmp_ok abs($took - 4), '<', 0.7, sprintf 'after 4 s (%.2f)', $took;
    ok $hive->wait_for(3, sub { said($one, 'cancel') }), 'the worker is told to give up';
    is $hive->metric('hive_requests_expired_total') - $expired, 1, 'counted';
};

subtest 'a client that leaves' => sub {
    my ($cancel, $count) = (said($one, 'cancel'), $hive->metric('hive_requests_cancelled_total'));
    my $asked = said($one, 'request');
    my $socket = $hive->connect;
    print $socket "GET $there?silence HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $user->{token}\r\n\r\n";
    ok $hive->wait_for(3, sub { said($one, 'request') > $asked }), 'the worker has it';
    close $socket;
    ok $hive->wait_for(1, sub { said($one, 'cancel') > $cancel }), 'and is told at once';
    is $hive->metric('hive_requests_cancelled_total') - $count, 1, 'counted';
};

subtest 'replies to nobody' => sub {
    my $orphans = $hive->metric('hive_orphan_replies_total');
    for my $query (qw(stranger twice)) {
        my $res = $hive->get("$there?$query", $user);
        is $res->code, 200, $query;
        is $res->json->{query}, $query, 'its own reply';
    }
    is $hive->get("$there?last", $user)->json->{query}, 'last', 'and so has the next';
    is $hive->metric('hive_orphan_replies_total') - $orphans, 3, 'counted: a reply, a stream, a second reply';
    my $res = $hive->get("$there?header", $user);
    is $res->headers->header('x-evil'), undef, 'no header begins inside another';
};

subtest 'more than a worker may have' => sub {
    my ($shed, $asked) = ($hive->metric('hive_requests_shed_total'), said($one, 'request'));
    my @held = map { begin(GET => "$there?delay=700&$_") } 1 .. 6;
    ok until_so(sub { said($one, 'request') == $asked + 6 }), 'six are held';
    my $began = time;
    my $res = begin(GET => $there)->();
    is $res->code, 503, 'the seventh is refused';
    cmp_ok time - $began, '<', 0.5, 'at once';
    is $res->json->{code}, 'overloaded', 'by name';
    ok $res->headers->header('Retry-After'), 'with Retry-After';
    is $hive->metric('hive_requests_shed_total') - $shed, 1, 'counted';
    is_deeply [map { $_->()->code } @held], [(200) x 6], 'the six are answered';
    is $hive->in_flight, 0, 'and none is left';
};

my $two = fake(1);
ok $hive->wait_for(5, sub { up() == 2 }), 'two are up';

subtest 'a worker that dies' => sub {
    my %json = ('Content-Type' => 'application/json');
    my $asked = sub { said($one, 'request') + said($two, 'request') };
    my ($resent, $before, $mine) = ($hive->metric('hive_requests_resent_total'), $asked->(), said($one, 'request'));
    my @held;
    # the least loaded has the next: each gets one of each kind
    for my $kind (qw(read keyed plain)) {
        for (1, 2) {
            push @held, $kind eq 'read' ? begin(GET => "$there?delay=1000")
                : begin(POST => '/api/v1/projects?delay=1000', { %json, $kind eq 'keyed' ? ('Idempotency-Key' => "k$_") : () }, '{"name":"x"}');
            until_so(sub { $asked->() == $before + @held });
        }
    }
    is said($one, 'request') - $mine, 3, 'has three of six requests';
    gone($one);
    my @res = map { $_->() } @held;
    is_deeply [map { [$_->code, $_->json->{pid}] } @res[0 .. 3]], [([200, $two->{process}->pid]) x 4],
        'reads and POSTs with a key are answered by the other';
    is $res[$_]->json->{body_len}, length '{"name":"x"}', 'with their body' for 2, 3;
    my ($lost, $kept) = sort { $b->code <=> $a->code } @res[4, 5];
    is $lost->code, 502, 'a POST without is not sent twice';
    is $lost->json->{code}, 'outcome_unknown', 'and says so';
    is $kept->code, 200, 'the one that the other had is answered';
    is $hive->metric('hive_requests_resent_total') - $resent, 2, 'counted';
    is said($two, 'request'), 5, 'the other had three, and two more';
    is $hive->in_flight, 0, 'none is left';
};

subtest 'a worker that drains' => sub {
    $one = fake(0);
    ok $hive->wait_for(5, sub { up() == 2 }), 'two are up';
    my @held = map { begin(GET => "$there?delay=500&$_") } 1, 2;
    ok until_so(sub { said($one, 'request') == 1 && said($two, 'request') == 6 }), 'each has a request';
    $two->{process}->signal('USR1');
    ok until_so(sub { said($two, 'stop') }), 'is told that nothing more comes';
    is $hive->get("$there?$_", $user)->json->{pid}, $one->{process}->pid, 'the other has what is new' for 1 .. 3;
    is_deeply [map { $_->()->code } @held], [200, 200], 'what was held is answered';
    ok $two->{process}->wait_end(5), 'then it goes';
};

subtest 'a worker that talks nonsense' => sub {
    for my $query (qw(garbage version)) {
        my $res = $hive->get("$there?$query", $user);
        like $res->code, qr/^(?:200|50[234])$/, "$query: an answer all the same";
    }
    ok $hive->wait_log('nginx', qr/speaks version 9 of the wire format/), 'the log says which version it speaks';
    is $hive->get('/health')->code, 200, 'nginx goes on';
    gone($one);
    ok $hive->wait_for(5, sub { up() == 0 }), 'it went';
    $one = fake(0);
    ok $hive->wait_for(5, sub { up() == 1 }), 'a sane one comes';
    is $hive->get($there, $user)->code, 200, 'and serves';
};

is $hive->in_flight, 0, 'nothing is left in flight';
$hive->stop;
done_testing;
