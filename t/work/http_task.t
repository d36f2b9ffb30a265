# http_task.t: tasks of kind `http` call whom the allow-list names, never what
# is within unless it says so, and are tried again when that may help.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use IO::Socket::INET;
use Mojo::JSON qw(decode_json encode_json);
use Test::More;
use Time::HiRes qw(sleep time);

# ---- the outside world: a server that answers as it is asked ----

my $listener = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die "listen: $@";
my $port = $listener->sockport;
my $closed = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
my $parent = $$;
my $seen = "/tmp/http_task.$$";
my $server = fork // die "fork: $!";
if (!$server) {
    $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
    $SIG{CHLD} = 'IGNORE';
    serve($_) while $_ = $listener->accept;
    POSIX::_exit(0);
}
END { if ($$ == $parent) { kill TERM => $server if $server; unlink $seen } }

sub serve {
    my ($socket) = @_;
    my $pid = fork;
    return close $socket if $pid;
    my ($head, $body) = ('', '');
    while (sysread $socket, $head, 65536, length $head) { last if $head =~ /\r\n\r\n/ }
    ($head, $body) = split /\r\n\r\n/, $head, 2;
    my ($length) = $head =~ /^Content-Length: (\d+)/mi;
    while (length $body < ($length // 0)) { sysread $socket, $body, 65536, length $body or last }
    my ($method, $path) = split / /, $head;
    open my $fh, '>>', $seen; syswrite $fh, encode_json({ method => $method, path => $path, head => $head, body => $body }) . "\n"; close $fh;
    my $say = sub {
        my ($status, $type, $text, @more) = @_;
        syswrite $socket, join "\r\n", "HTTP/1.1 $status X", "Content-Type: $type", 'Content-Length: ' . length $text, @more, 'Connection: close', '', $text;
    };
    my $times = grep { decode_json($_)->{path} eq $path } split /\n/, do { open my $in, '<', $seen; local $/; <$in> };
    if ($path eq '/json') { $say->(200, 'application/json; charset=utf-8', '{"a":[1,2.5,"\u00e9"]}', 'X-Two: 1', 'X-Two: 2') }
    elsif ($path eq '/text') { $say->(201, 'text/plain', 'plain') }
    elsif ($path eq '/bytes') { $say->(200, 'image/png', "\x89PNG\0\xff") }
    elsif ($path eq '/broken') { $say->(200, 'application/json', '{"a":1e999}') }
    elsif ($path eq '/latin') { $say->(200, 'text/plain', 'x', "X-Name: caf\xe9") }
    elsif ($path =~ m{^/flaky}) { $times < 3 ? $say->(503, 'text/plain', 'busy') : $say->(200, 'text/plain', 'at last') }
    elsif ($path eq '/later') { $times < 2 ? $say->(429, 'text/plain', 'not now', 'Retry-After: 2') : $say->(200, 'text/plain', 'x') }
    elsif ($path =~ m{^/status/(\d+)}) { $say->($1, 'text/plain', 'no') }
    elsif ($path eq '/redirect') { $say->(302, 'text/plain', '', "Location: http://127.0.0.1:$port/json") }
    elsif ($path eq '/big') { $say->(200, 'text/plain', 'x' x (1024 * 1024 + 1)) }
    elsif ($path eq '/full') { $say->(200, 'text/plain', 'x' x (1024 * 1024)) }
    elsif ($path eq '/slow') { sleep 20; $say->(200, 'text/plain', 'late') }
    elsif ($path eq '/reset') { }
    else { $say->(404, 'text/plain', 'nothing here') }
    close $socket;
    POSIX::_exit(0);
}

sub requests {
    my ($path) = @_;
    open my $fh, '<', $seen or return;
    return grep { $_->{path} eq $path } map { decode_json($_) } <$fh>;
}

# ---- Hive ----

my $here = "http://127.0.0.1:$port";
my $hive = Hive::Test->start(workers => 2,
    ini => { tasks => { http_allow => "!http://127.0.0.1:$port, !http://127.0.0.1:$closed, http://localhost:$port, *.hive.invalid, localhost:$port" } });
my $ada = $hive->register;

sub add {
    my ($input, %o) = @_;
    my $res = $hive->post('/api/v1/tasks', $ada, { kind => 'http', input => $input, backoff_ms => 100, %o });
    $res->code == 201 or die 'add: ' . $res->code . ' ' . $res->body;
    return $res->json->{id};
}

# The task, ended.
sub run {
    my ($input, %o) = @_;
    my $id = add($input, %o);
    my $task;
    $hive->wait_for(20, sub { $task = $hive->get("/api/v1/tasks/$id", $ada)->json; $task->{state} =~ /^(?:succeeded|failed|cancelled)$/ });
    return $task;
}

subtest 'what comes back' => sub {
    my $task = run({ url => "$here/json" });
    is $task->{state}, 'succeeded', 'JSON' or diag encode_json($task->{error});
    is $task->{result}{status}, 200, 'status';
    is_deeply $task->{result}{json}, { a => [1, 2.5, "\x{e9}"] }, 'json';
    is $task->{result}{headers}{'x-two'}, '1, 2', 'headers, those of one name together';
    like $task->{result}{headers}{'content-type'}, qr{^application/json}, 'in lower case';

    $task = run({ url => "$here/text" });
    is $task->{result}{body}, 'plain', 'text';
    is $task->{result}{status}, 201, 'any 2xx will do';
    is run({ url => "$here/bytes" })->{result}{body_base64}, 'iVBORwD/', 'bytes';
    is run({ url => "$here/broken" })->{result}{body}, '{"a":1e999}', 'JSON that is none of ours';
    is run({ url => "$here/latin" })->{result}{headers}{'x-name'}, "caf\x{e9}", 'a header that is no UTF-8';
    is length run({ url => "$here/full" })->{result}{body}, 1024 * 1024, 'a mebibyte';
};

subtest 'what goes out' => sub {
    my $task = run({ method => 'PUT', url => "$here/echo", json => { n => [1, "\x{e9}"] }, headers => { 'X-Mine' => 'yes' }, expect => [404] });
    is $task->{state}, 'succeeded', 'a status that is expected';
    my ($request) = requests('/echo');
    is $request->{method}, 'PUT', 'method';
    is_deeply decode_json(Mojo::Util::encode('UTF-8', Mojo::Util::decode('UTF-8', $request->{body}) // $request->{body})), { n => [1, "\x{e9}"] }, 'JSON body';
    like $request->{head}, qr{^content-type: application/json\r?$}mi, 'its type';
    like $request->{head}, qr{^x-mine: yes\r?$}mi, 'headers';
    like $request->{head}, qr{^idempotency-key: $task->{id}\r?$}mi, 'the key by which it is known again';
    like $request->{head}, qr{^host: 127\.0\.0\.1:$port\r?$}mi, 'host';

    run({ url => "$here/echo2", body => 'text', headers => { 'Content-Type' => 'text/x', 'Idempotency-Key' => 'mine' }, expect => [404] });
    ($request) = requests('/echo2');
    is $request->{method}, 'POST', 'a body is posted';
    is $request->{body}, 'text', 'as it is';
    like $request->{head}, qr{^content-type: text/x\r?$}mi, 'its type as said';
    like $request->{head}, qr{^idempotency-key: mine\r?$}mi, 'and its key';
};

subtest 'tried again' => sub {
    my $task = run({ url => "$here/flaky" });
    is $task->{state}, 'succeeded', 'a server that is busy';
    is $task->{attempt}, 3, 'twice';
    my %keys = map { $_->{head} =~ /^idempotency-key: (\S+)/mi ? ($1 => 1) : () } requests('/flaky');
    is join(' ', keys %keys), $task->{id}, 'each time with the same key';

    for my $each (['/status/500', 'http_status'], ['/status/429', 'http_status'], ['/reset', 'http_unreachable']) {
        $task = run({ url => "$here$each->[0]" }, max_attempts => 2);
        is $task->{attempt}, 2, "$each->[0]";
        is $task->{error}{code}, $each->[1], $each->[1];
    }
    $task = run({ url => "http://127.0.0.1:$closed/" }, max_attempts => 2);
    is $task->{attempt}, 2, 'nobody listens';
    is $task->{error}{code}, 'http_unreachable', 'http_unreachable';
    my $began = time;
    $task = run({ url => "$here/later" });
    is $task->{state}, 'succeeded', 'too many requests';
    ok time - $began > 1.9 && time - $began < 6, 'again when it says';

    $began = time;
    $task = run({ url => "$here/slow", timeout_ms => 300 }, max_attempts => 1);
    is $task->{error}{code}, 'http_timed_out', 'too slow';
    ok time - $began < 3, 'is not waited for';
    is run({ url => 'https://nobody.hive.invalid/' }, max_attempts => 1)->{error}{code}, 'http_unreachable', 'no such host';
};

subtest 'final' => sub {
    my $check = sub {
        my ($input, $code, $name) = @_;
        my $task = run($input);
        is $task->{state}, 'failed', $name;
        is $task->{error}{code}, $code, $code;
        is $task->{attempt}, 1, 'at once';
    };
    $check->({ url => "$here/status/404" }, 'http_status', 'not there');
    $check->({ url => "$here/redirect" }, 'http_status', 'a redirect');
    $check->({ url => "$here/json", expect => [204] }, 'http_status', 'what is not expected');
    $check->({ url => "$here/big" }, 'http_reply_too_large', 'more than a mebibyte');
    $check->({ url => 'https://example.com/' }, 'http_not_allowed', 'a host that is not allowed');
    $check->({ url => "http://127.0.0.1:5432/" }, 'http_not_allowed', 'a port that is not');
    $check->({ url => "https://127.0.0.1:$port/" }, 'http_not_allowed', 'a scheme that is not');
    $check->({ url => "ftp://127.0.0.1:$port/" }, 'http_not_allowed', 'another protocol');
    $check->({ url => "http://127.0.0.1:$port\@example.com/" }, 'invalid_url', 'a URL in disguise');
    $check->({ url => "https://example.com#\@127.0.0.1:$port/" }, 'http_not_allowed', 'another');
    $check->({ url => "http://user:pass\@127.0.0.1:$port/" }, 'invalid_url', 'a password');
    $check->({ url => 'no url' }, 'invalid_url', 'no URL');
    $check->({}, 'invalid_input', 'nothing');
    $check->({ url => "$here/json", colour => 1 }, 'invalid_input', 'something unknown');
    $check->({ url => "$here/json", headers => { Host => 'x' } }, 'invalid_input', 'a header that is ours');
    $check->({ url => "$here/json", headers => { 'X-A' => "b\r\nX-C: d" } }, 'invalid_request', 'a header in a header');
    $check->({ url => "$here/json", body => 'x', json => 1 }, 'invalid_input', 'two bodies');
    $check->({ url => "$here/json", timeout_ms => 0 }, 'invalid_input', 'no time');
};

# The list names the host, but not as one that may be within.
subtest 'private addresses' => sub {
    for my $url ("http://localhost:$port/private", "https://localhost:$port/private") {
        my $task = run({ url => $url });
        is $task->{state}, 'failed', $url;
        is $task->{error}{code}, 'http_private_address', 'is within';
        is $task->{attempt}, 1, 'final';
    }
    is scalar(requests('/private')), 0, 'and was not called';
};

subtest 'stopping' => sub {
    my $id = add({ url => "$here/slow" });
    ok $hive->wait_for(10, sub { scalar requests('/slow') > 1 }), 'is under way';
    is $hive->post("/api/v1/tasks/$id/cancel", $ada)->code, 202, 'cancelled';
    ok $hive->wait_for(10, sub { $hive->get("/api/v1/tasks/$id", $ada)->json->{state} eq 'cancelled' }), 'ends before its reply';
};

subtest 'a list that cannot be read' => sub {
    my $said = `HIVE_TASKS_HTTP_ALLOW='!*.example.com' '@{[$hive->dir]}/bin/hive-worker' -c '@{[$hive->dir]}/worker.ini' --check 2>&1`;
    isnt $?, 0, 'is refused';
    like $said, qr/http_allow: "!\*\.example\.com": "!" must name one host/, 'and said why';
};

$hive->stop;

done_testing;
