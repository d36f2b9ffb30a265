# problems.t: the problem codes that no other test meets, each by a request
# that a client could send.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Mojo::JSON qw(encode_json);
use Test::More;
use Time::HiRes qw(sleep);

my $hive = Hive::Test->start(workers => 2, nginx_workers => 1, deadline => 4);
my $ada = $hive->register;
my $base = '/api/v1/projects';

sub problem {
    my ($res, $status, $code, $name) = @_;
    my $json = $res->json // {};
    is join(' ', $res->code // 'no answer', $json->{code} // $res->body), "$status $code", $name;
    return;
}

subtest 'cursors' => sub {
    $hive->post($base, $ada, { name => "P $_" }) for 1 .. 3;
    my $next = $hive->get("$base?limit=1", $ada)->json->{next_cursor};
    ok $next, 'a cursor';
    is $hive->get("$base?limit=1&cursor=$next", $ada)->code, 200, 'goes on';
    problem $hive->get("$base?cursor=abc", $ada), 400, 'malformed_cursor', 'one that nobody made';
    (my $bent = $next) =~ tr/A-Za-z/B-ZAb-za/;
    problem $hive->get("$base?cursor=$bent", $ada), 400, 'malformed_cursor', 'one that was changed';
    problem $hive->get("$base?sort=name&cursor=$next", $ada), 422, 'cursor_mismatch', 'one of another order';
};

subtest 'conditions and keys' => sub {
    my $project = $hive->post($base, $ada, { name => 'C' })->json;
    problem $hive->patch("$base/$project->{id}", $ada, { name => 'D' }, { 'If-Match' => 'seven' }),
        400, 'malformed_if_match', 'If-Match without quotes';
    problem $hive->post($base, $ada, { name => 'D' }, { 'Idempotency-Key' => 'x' x 256 }),
        400, 'malformed_idempotency_key', 'a key too long';
    problem $hive->post($base, $ada, { name => 'D' }, { 'Idempotency-Key' => 'two words' }),
        400, 'malformed_idempotency_key', 'a key with a space';
};

subtest 'paths and lengths' => sub {
    like $hive->raw("GET /api/v1/projects/a%2fb HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $ada->{token}\r\nConnection: close\r\n\r\n"),
        qr{^HTTP/1\.1 422 .*invalid_parameter}s, 'an escaped slash stays in its segment';
    like $hive->raw("GET /api/v1/projects/%00 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $ada->{token}\r\nConnection: close\r\n\r\n"),
        qr{^HTTP/1\.1 400 }, 'a NUL in a path';
    like $hive->raw("GET /api/v1/projects/%ff HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $ada->{token}\r\nConnection: close\r\n\r\n"),
        qr{^HTTP/1\.1 400 .*malformed_path}s, 'what is no UTF-8';
};

subtest 'accounts' => sub {
    my $bob = $hive->register;
    $hive->psql("update hive.users set is_active = false where id = '$bob->{id}'");
    problem $hive->get('/api/v1/auth/me', $bob), 401, 'account_inactive', 'a token of an account that was closed';
    problem $hive->post('/api/v1/auth/setup', undef, { token => 'a' x 43, email => 'r@example.test', name => 'R',
        password => 'a long walk by the sea' }), 403, 'setup_token_invalid', 'a set-up link nobody made';
    $hive->psql("update hive.users set is_superuser = true where id = '$ada->{id}'");
    problem $hive->post('/api/v1/auth/setup', undef, { token => 'a' x 43, email => 'r@example.test', name => 'R',
        password => 'a long walk by the sea' }), 409, 'already_set_up', 'set-up when there is an administrator';
};

$hive->stop;
done_testing;
