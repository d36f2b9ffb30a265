# refresh.t: sessions outlive their access tokens: each refresh token is good
# once, the last one again for a moment; a copy ends the session.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Test::More;

my $hive = Hive::Test->start(workers => 2);
my $ada = $hive->register;

sub sign_in { $hive->post('/api/v1/auth/login', undef, { email => $ada->{email}, password => $ada->{password} })->json }
sub refresh { $hive->post('/api/v1/auth/refresh', undef, { refresh_token => $_[0] }) }
sub whoami { $hive->get('/api/v1/auth/whoami', { token => $_[0] })->code }

my $first = sign_in();
ok $first->{refresh_token}, 'signing in gives a refresh token';
my $second = refresh($first->{refresh_token});
is $second->code, 200, 'which gives the next of both';
is $second->headers->cache_control, 'no-store', 'that nobody stores';
$second = $second->json;
is whoami($second->{access_token}), 200, 'its access token is good';
isnt $second->{refresh_token}, $first->{refresh_token}, 'its refresh token another';
my $again = refresh($first->{refresh_token});
is $again->code, 200, 'had the reply been lost, it may be asked for again';
is $again->json->{refresh_token}, $second->{refresh_token}, 'and is the same';
my $third = refresh($second->{refresh_token})->json;
ok $third->{refresh_token}, 'the second gives a third';
is refresh($first->{refresh_token})->json->{code}, 'session_ended', 'the first is too old: somebody has a copy';
is refresh($third->{refresh_token})->code, 401, 'so the session has ended for all';
is whoami($third->{access_token}), 200, 'access tokens run out by themselves';

my $late = sign_in();
my $next = refresh($late->{refresh_token})->json;
$hive->psql("update hive.sessions set refreshed_at = now() - interval '31 seconds'");
is refresh($late->{refresh_token})->code, 401, 'half a minute later the last one is too old';

for my $bad ('', 'x', "$first->{refresh_token}x", substr($first->{refresh_token}, 0, -1), do { my $t = sign_in()->{refresh_token}; $t =~ s/\.0\./.1./; $t },
    do { my $t = sign_in()->{refresh_token}; $t =~ s/^./f/; $t }, '00000000-0000-0000-0000-000000000000.0.x') {
    my $res = refresh($bad);
    like $res->code, qr/^(?:401|422)$/, 'refused: ' . substr $bad, 0, 50;
}
is $hive->post('/api/v1/auth/refresh', undef, { refresh_token => 'x', more => 1 })->code, 422, 'an unknown member';

my $out = sign_in();
is $hive->post('/api/v1/auth/logout', { token => $out->{access_token} })->code, 204, 'signing out';
is refresh($out->{refresh_token})->code, 401, 'ends the session';
is $hive->post('/api/v1/auth/logout', { token => $out->{access_token} })->code, 204, 'again is no failure';
is $hive->post('/api/v1/auth/logout')->code, 401, 'by whom is asked';

my $gone = sign_in();
$hive->psql("update hive.users set is_active = false where id = '$ada->{id}'");
is refresh($gone->{refresh_token})->code, 401, 'who is deactivated gets no more';
$hive->psql("update hive.users set is_active = true where id = '$ada->{id}'");
$hive->psql("update hive.sessions set expires_at = created_at + interval '1 microsecond'");
is refresh($gone->{refresh_token})->code, 401, 'nor whose session has run out';

$hive->stop;
done_testing;
