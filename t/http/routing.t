# routing.t: what a path and a method may be, and what is said about others.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Test::More;

my $hive = Hive::Test->start(workers => 1, nginx_workers => 1);
my $user = $hive->register;
my $id = $hive->post('/api/v1/projects', $user, { name => 'Routed' })->json->{id};
like $id, qr/^[0-9a-f-]{36}$/, 'a project to route to';

# problem(response, status, code): it is that problem document
sub problem {
    my ($res, $status, $code, $name) = @_;
    subtest $name => sub {
        is $res->code, $status, 'status';
        like $res->headers->content_type // '', qr{^application/problem\+json}, 'type';
        my $json = $res->json // {};
        is $json->{code}, $code, 'code';
        is $json->{status}, $status, 'status in the document';
        ok length($json->{title} // ''), 'title';
        is $json->{request_id}, $res->headers->header('X-Request-Id'), 'request id as in the header';
    };
    return;
}

sub allow_of {
    my ($res) = @_;
    return join ' ', sort split /\s*,\s*/, $res->headers->header('Allow') // '';
}

problem $hive->get('/api/v1/nothing', $user), 404, 'route_not_found', 'an unknown path';
problem $hive->get('/api/v1/nothing'), 404, 'route_not_found', 'an unknown path, unknown caller';
problem $hive->get('/api/v1/projects/', $user), 404, 'route_not_found', 'a slash too many is another path';
problem $hive->get("/api/v1/Projects", $user), 404, 'route_not_found', 'case matters';

my $res = $hive->delete('/api/v1/projects', $user);
problem $res, 405, 'method_not_allowed', 'a method the path has not';
is allow_of($res), 'GET HEAD OPTIONS POST', 'Allow names those it has';
$res = $hive->post('/health', $user, {});
problem $res, 405, 'method_not_allowed', 'POST to what nginx answers';
is allow_of($res), 'GET HEAD OPTIONS', 'Allow';
$res = $hive->request(BREW => '/api/v1/projects', $user);
ok +($res->code == 405 || $res->code == 501), 'a method nobody knows';

$res = $hive->options('/api/v1/projects', $user);
ok +($res->code == 200 || $res->code == 204), 'OPTIONS';
is allow_of($res), 'GET HEAD OPTIONS POST', 'OPTIONS says what is allowed';
is $res->body, '', 'and has no body';

subtest 'HEAD is GET without its body' => sub {
    my $get = $hive->get("/api/v1/projects/$id", $user);
    my $head = $hive->head("/api/v1/projects/$id", $user);
    is $head->code, 200, 'status';
    is $head->body, '', 'no body';
    is $head->headers->header($_), $get->headers->header($_), $_ for qw(Content-Type Content-Length ETag);
    is $hive->head('/api/v1/projects/00000000-0000-7000-8000-000000000000', $user)->code, 404, 'HEAD of nothing';
};

subtest 'percent-encoding' => sub {
    (my $encoded = $id) =~ s/-/%2D/g;
    is $hive->get("/api/v1/projects/$encoded", $user)->code, 200, 'an encoded path is the path';
    is $hive->get("/api/v1/%70rojects/$id", $user)->code, 200, 'in literals too';
    is $hive->get('/api/v1/projects/' . uc $id, $user)->code, 200, 'a uuid in upper case';
    is $hive->get("/api/v1/projects%2F$id", $user)->code, 404, 'an encoded slash parts nothing';
};

for my $path ('/api/v1/projects/%zz', '/api/v1/projects/%4', '/api/v1/projects/%', '/api/v1/projects/%c3%28',
    '/api/v1/projects/%ed%a0%80', '/api/v1/projects/%01')
{
    my $text = $hive->raw("GET $path HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $user->{token}\r\nConnection: close\r\n\r\n");
    like $text, qr{^HTTP/1\.1 400 }, "$path is refused";
}

$res = $hive->get('/api/v1/projects/17', $user);
problem $res, 422, 'invalid_parameter', 'no uuid where one must be';
is $res->json->{errors}[0]{field}, 'project_id', 'names the parameter';

subtest 'bodies' => sub {
    my %json = ('Content-Type' => 'application/json');
    problem $hive->post('/api/v1/projects', $user, undef, { 'Content-Type' => 'text/plain', _body => '{"name":"x"}' }),
        415, 'unsupported_media_type', 'another type';
    problem $hive->post('/api/v1/projects', $user, undef, { %json, _body => '{"name":' }),
        400, 'malformed_json', 'broken JSON';
    problem $hive->post('/api/v1/auth/login', undef, undef, { %json, _body => '{"a":"' . 'x' x 20000 . '"}' }),
        413, 'body_too_large', 'more than the operation takes';
    my $big = '{"name":"big","description":"' . 'd' x 9000 . '"}';
    is $hive->post('/api/v1/projects', $user, undef, { %json, _body => $big })->code, 201, 'several buffers of body';
    is $hive->post('/api/v1/projects', $user, undef, { 'Content-Type' => 'application/json; charset=utf-8', _body => '{"name":"u"}' })->code,
        201, 'a charset is fine';
};

subtest 'trace' => sub {
    my $trace = '4bf92f3577b34da6a3ce929d0e0e4736';
    $hive->get('/api/v1/auth/me', $user, undef, { traceparent => "00-$trace-00f067aa0ba902b7-01" });
    ok $hive->wait_for(3, sub { $hive->log('access') =~ /"trace_id":"$trace"/ }), 'a traceparent is taken over into the log';
    my @lines = split /\n/, $hive->log('access');
    is_deeply [grep { !eval { Mojo::JSON::decode_json($_) } } @lines], [], 'every line of the access log is JSON';
    is_deeply [grep { /Bearer|eyJ/ } @lines], [], 'and none has a token';
};

subtest 'pages' => sub {
    for my $path ('/', '/setup', '/hive.css', '/setup.js') {
        my $page = $hive->get($path);
        is $page->code, 200, $path;
        like $page->headers->header('Content-Security-Policy'), qr/default-src 'none'/, 'with a policy';
    }
    like $hive->get('/')->headers->content_type, qr{^text/html}, 'the root is a page';
    is $hive->get('/web.conf')->code, 404, 'what is no page is not served';
};

$hive->stop;
done_testing;
