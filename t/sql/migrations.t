# migrations.t: each change deploys, is verified for what it made, and is
# reverted to what was there before; the cell may have any name.

use strict;
use warnings;
use Test::More;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test::Database;

my $server = Hive::Test::Database->new;

sub plan_changes {
    open my $fh, '<', "$Bin/../../sql/sqitch.plan" or die $!;
    return map { /^([a-z]\w*) / ? $1 : () } <$fh>;
}

sub sqitch_ok {
    my ($name, @call) = @_;
    my ($ok, $said) = $server->sqitch(@call);
    ok $ok, $name or diag $said;
    return $said;
}

sub same_schema {
    my ($now, $before, $name) = @_;
    return ok 1, $name if $now eq $before;
    ok 0, $name;
    my %before = map { $_ => 1 } split /\n/, $before;
    my %now = map { $_ => 1 } split /\n/, $now;
    diag "gone: $_" for grep { !$now{$_} } sort keys %before;
    diag "new: $_" for grep { !$before{$_} } sort keys %now;
    return;
}

my @changes = plan_changes();
is_deeply [@changes[0 .. 4]], [qw(schemas users events idempotency projects)], 'the plan';

# step by step, forth, back and forth again: what a change leaves when it is
# reverted is what the one before it made when it was deployed first
$server->create('steps');
my $empty = $server->dump('steps');
my $before = $empty;
for my $i (0 .. $#changes) {
    my $change = $changes[$i];
    sqitch_ok("$change deploys and verifies", 'steps', 'deploy', '--verify', "--to $change");
    my $after = $server->dump('steps');
    isnt $after, $before, "$change changes something";
    sqitch_ok("$change reverts", 'steps', 'revert', '-y', $i > 0 ? "--to $changes[$i - 1]" : ());
    same_schema($server->dump('steps'), $before, "$change leaves nothing when reverted");
    $before = $after;
}
sqitch_ok('everything deploys again', 'steps', 'deploy');
same_schema($server->dump('steps'), $before, 'and makes the same again');
sqitch_ok('everything verifies', 'steps', 'verify');

# all at once, and back
sqitch_ok('everything reverts', 'steps', 'revert', '-y');
same_schema($server->dump('steps'), $empty, 'nothing is left');
sqitch_ok('everything deploys', 'steps', 'deploy');
same_schema($server->dump('steps'), $before, 'at once makes what the steps made');
like sqitch_ok('status', 'steps', 'status'), qr/Nothing to deploy/, 'up to date';
sqitch_ok('deploying what is deployed succeeds', 'steps', 'deploy');

# verify notices what is missing, one of each kind, and names it
my @damage = (
    ['a column', 'alter table hive.users drop column email_verified_at',
        qr/column email_verified_at timestamp/],
    ['a default', 'alter table hive.users alter column is_active drop default',
        qr/column is_active boolean not null true/],
    ['not null', 'alter table hive.sessions alter column user_id drop not null',
        qr/column user_id uuid not null/],
    ['a type', 'alter table hive.setup_tokens alter column used_at type timestamp',
        qr/column used_at timestamp with time zone/],
    ['a check', 'alter table hive.sessions drop constraint sessions_expires_at_check',
        qr/constraint sessions_expires_at_check/],
    ['a domain without its check', 'alter domain cell0.document drop constraint document_check',
        qr/domain cell0.document is not jsonb with CHECK/],
    ['a foreign key', 'alter table cell0.projects drop constraint projects_owner_id_fkey',
        qr/constraint projects_owner_id_fkey/],
    ['what it does on delete', 'alter table hive.credentials drop constraint credentials_user_id_fkey,
        add constraint credentials_user_id_fkey foreign key (user_id) references hive.users (id)',
        qr/constraint credentials_user_id_fkey .* ON DELETE CASCADE/],
    ['a primary key', 'alter table cell0.idempotency_keys drop constraint idempotency_keys_pkey',
        qr/constraint idempotency_keys_pkey/],
    ['an index', 'drop index cell0.projects_owner_name', qr/index projects_owner_name/],
    ['uniqueness', 'drop index hive.users_email_key', qr/index unique users_email_key/],
    ['an option', 'alter table cell0.idempotency_keys reset (fillfactor)', qr/option fillfactor=80/],
    ['a grant', 'revoke insert on cell0.events from hive', qr/grant insert/],
    ['the version to read', 'revoke select on sqitch.tags from hive', qr/may not read sqitch\.tags/],
);
sub damaged {
    my (@damages) = @_;
    $server->run('postgres', 'create database damaged template steps');
    $server->run('damaged', map { $_->[1] } @damages);
    my ($ok, $said) = $server->sqitch('damaged', 'verify');
    ok !$ok, 'verify fails';
    like $said, $_->[2], "verify misses $_->[0]" for @damages;
    $server->run('postgres', 'drop database damaged');
    return;
}
# A script stops at the first table that differs, so these alone.
my $alone = qr/table hive\.(?:credentials|sessions|setup_tokens)|domain/;
damaged(grep { $_->[1] !~ /^alter $alone/ } @damage);
damaged($_) for grep { $_->[1] =~ /^alter $alone/ } @damage;
damaged(['usage of the schema', 'revoke usage on schema cell0 from hive', qr/may not use the schema cell0/]);
damaged(['a schema', 'drop schema cell0 cascade', qr/schema "cell0" does not exist/]);

# the name of the cell is a variable
$server->create('other');
sqitch_ok('another cell deploys', 'other', 'deploy', '--set cell=cell7');
sqitch_ok('another cell verifies', 'other', 'verify', '--set cell=cell7');
(my $renamed = $server->dump('other')) =~ s/\bcell7\b/cell0/g;
same_schema($renamed, $before, 'the same but for the name');
sqitch_ok('another cell reverts', 'other', 'revert', '-y', '--set cell=cell7');
same_schema($server->dump('other'), $empty, 'nothing is left of it');

# without the workers' role the failure says what to do
my $bare = Hive::Test::Database->new;
$bare->run('postgres', 'drop role hive');
$bare->create('bare');
my ($ok, $said) = $bare->sqitch('bare', 'deploy');
ok !$ok, 'no role, no schema';
like $said, qr/the role "hive" is missing/, 'the message names it';
like $said, qr/create role hive login/, 'and the remedy';

done_testing;
