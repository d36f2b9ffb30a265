# projects.t: projects are kept, found, changed and removed by their owner,
# and nobody else knows of them.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Mojo::JSON qw(true false);
use Test::More;

my $hive = Hive::Test->start(workers => 2, nginx_workers => 2);
my $ada = $hive->register;
my $eve = $hive->register;
my $base = '/api/v1/projects';

my $project;
subtest 'create' => sub {
    my $res = $hive->post($base, $ada, { name => "Caf\x{e9} \x{1f600}", description => 'A "quoted" \\ text' });
    is $res->code, 201, 'created';
    $project = $res->json;
    like $project->{id}, qr/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/, 'a UUIDv7';
    is $project->{name}, "Caf\x{e9} \x{1f600}", 'text comes back as it was';
    is $project->{description}, 'A "quoted" \\ text', 'with quotes';
    is $project->{owner_id}, $ada->{id}, 'owned by its creator';
    like $project->{created_at}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,6}Z$/, 'RFC 3339 UTC';
    ok $res->headers->etag, 'ETag';
    is $hive->psql("select count(*) from cell0.events where channel = 'project:$project->{id}'"), 1, 'and its event';
};

subtest 'what is wrong is said' => sub {
    my $check = sub {
        my ($body, $field, $name) = @_;
        my $res = $hive->post($base, $ada, $body);
        is $res->code, 422, $name;
        is $res->json->{errors}[0]{field}, $field, "names $field";
    };
    $check->({}, 'name', 'no name');
    $check->({ name => '' }, 'name', 'an empty name');
    $check->({ name => 'x' x 201 }, 'name', 'a name too long');
    $check->({ name => 7 }, 'name', 'a name that is a number');
    $check->({ name => 'x', colour => 'red' }, 'colour', 'an unknown member');
    $check->({ name => 'x', owner_id => $eve->{id} }, 'owner_id', 'a member that is not for writing');
};

subtest 'get' => sub {
    my $res = $hive->get("$base/$project->{id}", $ada);
    is $res->code, 200, 'there';
    is $res->json->{name}, $project->{name}, 'the same';
    my $etag = $res->headers->etag;
    is $hive->get("$base/$project->{id}", $ada, undef, { 'If-None-Match' => $etag })->code, 304, 'not modified';
    is $hive->get("$base/$project->{id}")->code, 401, 'not without a token';
};

subtest 'a stranger' => sub {
    my $there = "$base/$project->{id}";
    is $hive->get($there, $eve)->code, 404, 'cannot see it';
    is $hive->patch($there, $eve, { name => 'mine' })->code, 404, 'nor change it';
    is $hive->delete($there, $eve)->code, 404, 'nor delete it';
    is $hive->post("$there/archive", $eve)->code, 404, 'nor archive it';
    is $hive->get("$there/config", $eve)->code, 404, 'nor read its configuration';
    is $hive->put("$there/config", $eve, { a => 1 })->code, 404, 'nor write it';
    is_deeply $hive->get($base, $eve)->json->{items}, [], 'nor find it';
    is $hive->get($there, $ada)->json->{name}, $project->{name}, 'it is as it was';
};

subtest 'patch' => sub {
    my $there = "$base/$project->{id}";
    my $etag = $hive->get($there, $ada)->headers->etag;
    my $res = $hive->patch($there, $ada, { name => 'Renamed' }, { 'If-Match' => $etag });
    is $res->code, 200, 'changed';
    is $res->json->{name}, 'Renamed', 'the name';
    is $res->json->{description}, $project->{description}, 'and nothing else';
    isnt $res->headers->etag, $etag, 'a new ETag';
    $res = $hive->patch($there, $ada, { name => 'Again' }, { 'If-Match' => $etag });
    is $res->code, 412, 'not from a stale version';
    is $hive->get($there, $ada)->json->{name}, 'Renamed', 'which changed nothing';
    is $hive->patch($there, $ada, { name => undef })->code, 422, 'a name cannot be removed';
    is $hive->psql(qq{select string_agg("offset"::text, ',' order by "offset") from cell0.events where channel = 'project:$project->{id}'}),
        '1,2', 'offsets without a gap';
};

subtest 'configuration document' => sub {
    my $there = "$base/$project->{id}/config";
    is $hive->get($there, $ada)->code, 200, 'there from the start';
    my $document = { model => 'small', nested => { list => [1, 2.5, true, undef, "\x{fc}"] } };
    is $hive->put($there, $ada, $document)->code, 200, 'written';
    my $read = $hive->get($there, $ada)->json;
    is_deeply $read->{config} // $read, $document, 'read as it was';
};

subtest 'archive' => sub {
    my $there = "$base/$project->{id}";
    my $res = $hive->post("$there/archive", $ada);
    is $res->code, 200, 'archived';
    ok $res->json->{archived_at}, 'since when';
    is scalar @{ $hive->get("$base?archived=true", $ada)->json->{items} }, 1, 'found among the archived';
    is scalar @{ $hive->get("$base?archived=false", $ada)->json->{items} }, 0, 'not among the others';
    is $hive->post("$there/unarchive", $ada)->json->{archived_at}, undef, 'and back';
};

subtest 'lists' => sub {
    my $bob = $hive->register;
    my @made = map { $hive->post($base, $bob, { name => sprintf('Project %02d', $_), description => $_ % 2 ? 'odd walrus' : 'even heron' })->json } 1 .. 25;
    my $page = $hive->get($base, $bob)->json;
    is scalar @{ $page->{items} }, 20, 'twenty at a time';
    is $page->{items}[0]{id}, $made[-1]{id}, 'the newest first';
    ok $page->{next_cursor}, 'and more to come';
    my $rest = $hive->get("$base?cursor=$page->{next_cursor}", $bob)->json;
    is scalar @{ $rest->{items} }, 5, 'the rest';
    is $rest->{next_cursor}, undef, 'no more';
    my %seen = map { $_->{id} => 1 } @{ $page->{items} }, @{ $rest->{items} };
    is scalar keys %seen, 25, 'each once';

    my @walk;
    my $cursor = '';
    for (1 .. 20) {
        my $part = $hive->get("$base?limit=4&sort=name$cursor", $bob)->json;
        push @walk, map { $_->{name} } @{ $part->{items} };
        last unless defined $part->{next_cursor};
        $cursor = "&cursor=$part->{next_cursor}";
    }
    is_deeply \@walk, [map { sprintf 'Project %02d', $_ } 1 .. 25], 'sorted by name, in pages of four';
    is $hive->get("$base?count=true&limit=1", $bob)->json->{total}, 25, 'counted';
    is scalar @{ $hive->get("$base?q=walrus&limit=100", $bob)->json->{items} }, 13, 'searched';
    is $hive->get("$base?q=walrus", $eve)->json->{items}[0], undef, 'in what is yours';

    for my $bad ('colour=red', 'sort=colour', 'sort=description', 'limit=0', 'limit=101', 'limit=x', 'cursor=x', 'limit=1&limit=2',
        'archived=perhaps')
    {
        my $res = $hive->get("$base?$bad", $bob);
        ok +($res->code == 422 || $res->code == 400), "$bad is refused" or diag $res->code, $res->body;
    }
    is $hive->get("$base?sort=name&cursor=$page->{next_cursor}", $bob)->code, 422, 'a cursor belongs to its sort';

    my $lines = $hive->get($base, $bob, undef, { Accept => 'application/x-ndjson' });
    is $lines->code, 200, 'as a stream';
    like $lines->headers->content_type, qr{^application/x-ndjson}, 'its type';
    my @rows = map { Mojo::JSON::decode_json($_) } split /\n/, $lines->body;
    is scalar @rows, 25, 'every row, one a line';
};

subtest 'delete' => sub {
    my $there = "$base/$project->{id}";
    is $hive->delete($there, $ada)->code, 204, 'deleted';
    is $hive->get($there, $ada)->code, 404, 'gone';
    is $hive->delete($there, $ada)->code, 404, 'once';
};

$hive->stop;
done_testing;
