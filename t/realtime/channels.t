# channels.t: what the hubs in nginx ask of workers: who may watch a channel,
# what has been missed of it and whether that is all, its state; tickets; who
# watches.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Digest::SHA qw(sha256_hex);
use Hive::Test;
use Hive::Test::Hub;
use Hive::Test::Tasks;
use Mojo::JSON qw(decode_json);
use Test::More;

my $hive = Hive::Test->start(workers => 2, nginx_workers => 1, ini => { worker => { drain_timeout => '1s' } });
my $hub = Hive::Test::Hub->new($hive);
my $tasks = Hive::Test::Tasks->new($hive);
my ($ada, $eve, $root) = map { $hive->register } 1 .. 3;
my $unknown = '018f0000-0000-7000-8000-00000000dead';
my $admin = { id => $root->{id}, admin => 1 };
my $one_node = '018f0000-0000-7000-8000-000000000001';
my $other_node = '018f0000-0000-7000-8000-000000000002';

sub sql { return $hive->psql("set search_path = cell0, hive;\n$_[0]") }

sub create { my ($what, $body) = @_; my $res = $hive->post("/api/v1/$what", $ada, $body); return $res->json->{id} // die $res->body }

sub open_one { my ($user, $channel, %more) = @_; return ($hub->call(channel_open => { channels => [{ channel => $channel, %more }] }, $user))[1 .. 2000] }

# A STATUS in a few words.
sub told {
    my ($status) = @_;
    return 'none' unless $status && $status->{kind} eq 'status';
    return $status->{type} unless $status->{allowed};
    return join ' ', $status->{offset}, map { $status->{$_} ? $_ : () } qw(recovered more);
}

sub opened { my @records = grep { defined } open_one(@_); return join ' | ', told($records[0]), map { ($_->{first} < $_->{offset} ? "$_->{first}-" : '') . "$_->{offset} $_->{type}" } @records[1 .. $#records] }

my $project = create(projects => { name => 'Watched' });
my $task = $tasks->add(kind => 'sleep', owner_id => $ada->{id}, input => '{"ms": 600000}');
my $done = create(tasks => { kind => 'noop' });
my $run = create(runs => { steps => [{ name => 'a', kind => 'noop' }] });
my $workflow = create(workflows => { name => 'W', steps => [{ name => 'a', kind => 'noop' }] });
my $schedule = create(schedules => { name => 'S', cron => '@yearly', task => { kind => 'noop' } });
my %channels = (project => $project, task => $task, 'finished task' => $done, workflow => $workflow, run => $run, schedule => $schedule);
my %name = (map({ $_ => "$_:$channels{$_}" } qw(project task workflow schedule)), 'finished task' => "task:$done", run => "workflow:$run");
ok $hive->wait_for(10, sub { $tasks->of($task, 'state') eq 'running' && $tasks->of($done, 'state') eq 'succeeded' && sql("select state from runs where id = '$run'") eq 'succeeded' }), 'there is something to watch';

my $epoch = sql('select epoch from outbox_epoch');

subtest 'who may watch' => sub {
    for my $kind (sort keys %name) {
        my ($status, @more) = grep { defined } open_one($ada, $name{$kind});
        is_deeply [@$status{qw(kind channel key)}], ['status', $name{$kind}, $epoch], "$kind: a status with the epoch";
        ok $status->{allowed} && $status->{offset} >= 1 && !@more, 'allowed, with the head and no events';
        is opened($eve, $name{$kind}), 'not_allowed', 'not to others';
    }
    is opened($ada, "project:$unknown"), 'not_allowed', 'what there is not looks the same';
    is opened($ada, $_), 'unknown_channel', "no channel: '$_'" for 'project', 'project:', "projects:$project", "project:" . uc $project, "system:$project", 'project:x', '', 'user:', 'x' x 300;
    is opened($ada, "user:$ada->{id}"), 1, 'their own channel';
    is opened($ada, "user:$eve->{id}"), 'not_allowed', 'nobody else\'s';
    is opened($admin, "user:$eve->{id}"), 1, 'but for an administrator';
    is opened($admin, "user:$unknown"), 0, 'of whomever';
    is opened($ada, 'system'), 0, 'the channel of all';
    is(($hub->call(channel_open => { channels => [{ channel => 'system' }] }))[0]{status}, 401, 'nobody opens none');
};

subtest 'many at once' => sub {
    my @names = ((map { $name{$_} } sort keys %name), "project:$unknown", 'system', "user:$ada->{id}", 'nothing');
    my ($reply, @records) = $hub->call(channel_open => { channels => [map { { channel => $_, after => 0 } } @names] }, $ada);
    my @status = grep { $_->{kind} eq 'status' } @records;
    is_deeply [map { $_->{channel} } @status], \@names, 'in their order';
    is_deeply [map { $_->{recovered} ? 1 : 0 } @status], [(1) x 6, 0, 1, 1, 0], 'each with what it is';
    my %of;
    for (grep { $_->{kind} eq 'change' } @records) { $of{ $_->{channel} }{ $_->{offset} } = $_->{first} }
    for my $status (@status[0 .. 5]) {
        my $next = 1;
        for my $offset (sort { $a <=> $b } keys %{ $of{ $status->{channel} } }) {
            $next = $offset + 1 if $of{ $status->{channel} }{$offset} <= $next;
        }
        is $next, $status->{offset} + 1, "$status->{channel} from 1 to its head";
    }
    is(($hub->call(channel_open => { channels => [map { { channel => 'system' } } 1 .. 257] }, $ada))[0]{status}, 422, 'not too many');
    is(($hub->call(channel_open => { channels => [] }, $ada))[0]{status}, 422, 'nor none');
    is(($hub->call(channel_open => { channels => [{ channel => 'system', after => -1 }] }, $ada))[0]{status}, 422, 'nor nonsense');
};

subtest 'what was missed' => sub {
    $hive->patch("/api/v1/projects/$project", $ada, { description => "d$_" }) for 1 .. 9;
    my $channel = "project:$project";
    is opened($ada, $channel), 10, 'the head';
    is opened($ada, $channel, after => 10), '10 recovered', 'nothing';
    is opened($ada, $channel, after => 8), '10 recovered | 9 project.updated | 10 project.updated', 'some';
    is opened($ada, $channel, after => 8, epoch => $epoch), '10 recovered | 9 project.updated | 10 project.updated', 'in this epoch';
    is opened($ada, $channel, after => 8, epoch => 'another'), '10', 'in another one, nothing is known';
    is opened($ada, $channel, after => 11), '10', 'nor of what has not been';
    is opened($ada, $channel, after => 2, limit => 3), '10 recovered more | 3 project.updated | 4 project.updated | 5 project.updated', 'a part at a time';
    is opened($ada, $channel, after => 7, limit => 3), '10 recovered | 8 project.updated | 9 project.updated | 10 project.updated', 'until it is all';
    is opened($eve, $channel, after => 8), 'not_allowed', 'not for others';
    my (undef, $event) = open_one($ada, $channel, after => 9);
    like $event->{text}, qr/^\{"type":"project\.updated","channel":"\Q$channel\E","offset":10,"data":\{"version": 10\},"timestamp":"/, 'as it was published';

    sql(qq{delete from events where channel = '$channel' and "offset" = 6});
    is opened($ada, $channel, after => 4), '10', 'what has a gap is not recovered';
    is opened($ada, $channel, after => 5), '10', 'wherever it is';
    is opened($ada, $channel, after => 6), '10 recovered | 7 project.updated | 8 project.updated | 9 project.updated | 10 project.updated', 'behind it all is well';
    is opened($ada, $channel, after => 0, limit => 3), '10 recovered more | 1 project.created | 2 project.updated | 3 project.updated', 'before it too, as far as it goes';

    # older than the partitions that are looked at first
    my $old = create(projects => { name => 'Old' });
    my $id = sql("update projects set id = (substr(id_floor(now() - interval '20 days')::text, 1, 24) || right(id::text, 12))::uuid where id = '$old' returning id");
    sql(qq{update projects set event_seq = 3 where id = '$id';
        insert into events (channel, "offset", type, data, created_at) select 'project:$id', n, 'project.old', '{}', now() - (21 - 5 * n) * interval '1 day' from generate_series(1, 3) n});
    is opened($ada, "project:$id", after => 0), '3 recovered | 1 project.old | 2 project.old | 3 project.old', 'days ago';
    is opened($ada, "project:$id", after => 2), '3 recovered | 3 project.old', 'and less';
    sql(qq{delete from events where channel = 'project:$id' and "offset" = 1});
    is opened($ada, "project:$id", after => 0), '3', 'unless that day is gone';

    # much text
    my $long = create(projects => { name => 'Long' });
    sql(qq{update projects set event_seq = 5 where id = '$long'; delete from events where channel = 'project:$long';
        insert into events (channel, "offset", type, data) select 'project:$long', n, 'project.long', jsonb_build_object('text', repeat('x', 400000)) from generate_series(1, 5) n});
    is opened($ada, "project:$long", after => 0), '5 recovered more | 1 project.long | 2 project.long', 'a megabyte at a time';
    is opened($ada, "project:$long", after => 4), '5 recovered | 5 project.long', 'to its end';
    sql(qq{update events set data = jsonb_build_object('text', repeat('x', 3000000)) where channel = 'project:$long'});
    is opened($ada, "project:$long", after => 3), '5 recovered more | 4 project.long', 'one that is more, alone';
};

subtest 'what tasks and runs tell themselves' => sub {
    is opened($ada, $name{task}, after => 0), '2 recovered | 1 task.created | 2 task.running', 'a task that runs';
    is opened($ada, $name{'finished task'}, after => 0), '3 recovered | 1 task.created | 2 task.running | 3 task.succeeded', 'one that has ended';
    is opened($ada, $name{'finished task'}, after => 2), '3 recovered | 3 task.succeeded', 'or its end';
    is opened($ada, $name{run}, after => 0), '2 recovered | 1 run.created | 2 run.succeeded', 'a run';
    sql("update tasks set event_seq = 9, progress_seq = 9, progress_first = 3, progress_at = now(), progress = 0.5 where id = '$task'");
    is opened($ada, $name{task}, after => 6), '9 recovered | 3-9 task.progress', 'progress stands for all it replaced';
    is opened($ada, $name{task}, after => 0, limit => 2), '9 recovered more | 1 task.created | 2 task.running', 'a part';
    my (undef, $event) = open_one($ada, $name{task}, after => 6);
    is_deeply $event->{json}{data}, { progress => 0.5 }, 'and says the last';
    is $event->{json}{first}, 3, 'from where it stands for';
    my $slow = create(runs => { steps => [map { { name => "s$_", kind => 'sleep', input => { ms => $_ == 3 ? 600000 : 1 } } } 1 .. 3] });
    ok $hive->wait_for(10, sub { sql("select left_n from runs where id = '$slow'") == 1 }), 'a run that is under way';
    like opened($ada, "workflow:$slow", after => 0), qr/^(\d) recovered \| 1 run\.created \| (?:2-)?\1 run\.progress$/, 'with its progress';
};

subtest 'heads and history' => sub {
    my ($reply, @heads) = $hub->call(channel_heads => { channels => [$name{project}, "project:$unknown", $name{run}, 'nothing', $name{'finished task'}] });
    is_deeply [map { told($_) } @heads], ['10', 'not_allowed', '2', 'unknown_channel', '3'], 'heads, for nobody in particular';
    my (undef, @events) = $hub->call(channel_history => { channel => $name{project}, after => 8 });
    is_deeply [told($events[0]), map { $_->{offset} } @events[1 .. $#events]], ['10 recovered', 9, 10], 'what lies between';
    (undef, @events) = $hub->call(channel_history => { channel => $name{project}, after => 6, limit => 2 });
    is_deeply [told($events[0]), map { $_->{offset} } @events[1 .. $#events]], ['10 recovered more', 7, 8], 'in parts';
    is(($hub->call(channel_history => { channel => $name{project} }))[0]{status}, 422, 'from somewhere');
};

subtest 'state' => sub {
    my %path = (project => "projects/$project", task => "tasks/$task", 'finished task' => "tasks/$done", run => "runs/$run", workflow => "workflows/$workflow", schedule => "schedules/$schedule");
    for my $kind (sort keys %path) {
        my (undef, $state) = $hub->call(channel_state => { channel => $name{$kind} }, $ada);
        is $state->{kind}, 'state', $kind;
        is_deeply $state->{json}, $hive->get("/api/v1/$path{$kind}", $ada)->json, 'as GET shows it';
        my ($head) = open_one($ada, $name{$kind});
        is "$state->{key} $state->{offset}", "$epoch $head->{offset}", 'at the head';
        is told(($hub->call(channel_state => { channel => $name{$kind} }, $eve))[1]), 'not_allowed', 'not to others';
    }
    my (undef, $state) = $hub->call(channel_state => { channel => "user:$ada->{id}" }, $ada);
    is "$state->{kind} $state->{text}", 'state null', 'of a user, nothing';
    is told(($hub->call(channel_state => { channel => 'nothing' }, $ada))[1]), 'unknown_channel', 'nor of nothing';
};

subtest 'tickets' => sub {
    my $res = $hive->post('/api/v1/auth/ticket', $ada);
    is $res->code, 201, 'made';
    my $ticket = $res->json->{ticket};
    like $ticket, qr/^[A-Za-z0-9_-]{43}$/, 'for a URL';
    is $res->headers->header('Cache-Control'), 'no-store', 'kept by nobody';
    is sql("select encode(token_hash, 'hex') from tickets"), sha256_hex($ticket), 'of which the hash is kept';
    cmp_ok abs(sql('select extract(epoch from expires_at - now()) from tickets') - 30), '<', 5, 'for half a minute';
    is $hive->post('/api/v1/auth/ticket', undef)->code, 401, 'not for nobody';

    # two at once
    my @codes;
    my @pids = map {
        my $dir = $hive->dir;
        my $n = $_;
        my $pid = fork // die;
        if (!$pid) {
            my ($reply) = Hive::Test::Hub->new($hive)->call(ticket_redeem => { ticket => $ticket });
            Hive::Test::spew("$dir/redeemed.$n", Mojo::JSON::encode_json($reply));
            require POSIX;
            POSIX::_exit(0);
        }
        $pid;
    } 1 .. 4;
    waitpid $_, 0 for @pids;
    my @replies = map { decode_json(Hive::Test::slurp($hive->dir . "/redeemed.$_")) } 1 .. 4;
    is_deeply [sort map { $_->{status} } @replies], [200, 401, 401, 401], 'one is let in';
    my ($in) = grep { $_->{status} == 200 } @replies;
    my $claims = $in->{json};
    is $claims->{user_id}, $ada->{id}, 'as whom it was made for';
    is $claims->{is_superuser}, 0, 'who is no administrator';
    is $claims->{session_id}, sql("select id from sessions where user_id = '$ada->{id}'"), 'in their session';
    cmp_ok abs($claims->{expires_at} - time - 900), '<', 60, 'for as long as an access token';

    my $redeem = sub { return ($hub->call(ticket_redeem => { ticket => $_[0] }))[0] };
    my $make = sub { return $hive->post('/api/v1/auth/ticket', $_[0])->json->{ticket} };
    is $redeem->($_)->{status}, 401, "not '$_'" for 'x', 'A' x 43, 'x' x 3000;
    is $redeem->('')->{status}, 422, 'nor nothing';
    is $redeem->('x')->{json}{code}, 'ticket_invalid', 'with its code';
    my $late = $make->($ada);
    sql("update tickets set expires_at = now() - interval '1 s'");
    is $redeem->($late)->{status}, 401, 'one that has run out';
    my $of_eve = $make->($eve);
    is sql("select count(*) from tickets where expires_at < now()"), 0, 'which the next one sweeps away';
    sql("update users set is_active = false where id = '$eve->{id}'");
    is $redeem->($of_eve)->{status}, 401, 'one of somebody who was deactivated';
    is $hive->post('/api/v1/auth/ticket', $eve)->code, 401, 'who gets none';
    sql("update users set is_active = true where id = '$eve->{id}'");
    my $again = $make->($eve);
    sql("delete from sessions where user_id = '$eve->{id}'");
    is $redeem->($again)->{status}, 401, 'one whose session is over';
    is $hive->post('/api/v1/auth/ticket', $eve)->json->{code}, 'session_ended', 'which has no more';
};

subtest 'presence' => sub {
    my $channel = $name{project};
    my $news = $hub->listen($channel);
    my $report = sub { my ($node, $full, @entries) = @_; return ($hub->call(presence_report => { node => $node, full => $full ? \1 : \0, entries => \@entries }))[0]{status} };
    my $entry = sub { return { channel => $channel, user_id => $_[0]{id}, connections => $_[1] } };
    my $heard = sub { return join ', ', map { "$_->{kind} $_->{type} " . ($_->{json}{data}{user_id} eq $ada->{id} ? 'ada' : 'eve') } $news->rest(0.4) };
    my $there = sub {
        my ($reply) = $hub->call(presence_list => { channel => $channel }, $ada);
        return join ', ', map { ($_->{user_id} eq $ada->{id} ? 'ada' : 'eve') . " $_->{connections}" } sort { $b->{connections} <=> $a->{connections} } @{ $reply->{json}{users} };
    };
    is $report->($one_node, 0, $entry->($ada, 1)), 204, 'a hub tells of somebody';
    is $heard->(), 'signal presence.join ada', 'who has come';
    is $there->(), 'ada 1', 'and is there';
    $report->($one_node, 0, $entry->($ada, 3));
    $report->($other_node, 0, $entry->($ada, 2), $entry->($eve, 1));
    is $heard->(), 'signal presence.join eve', 'more connections are nobody new';
    is $there->(), 'ada 5, eve 1', 'but counted';
    $report->($one_node, 0, $entry->($ada, 0));
    is $heard->(), '', 'nobody leaves who is elsewhere';
    $report->($other_node, 1, $entry->($eve, 1));
    is $heard->(), 'signal presence.leave ada', 'who is in no full report has left';
    $report->($other_node, 1, $entry->($eve, 1));
    is $heard->(), '', 'said once';
    is $there->(), 'eve 1', 'the rest is there';

    $report->($one_node, 0, $entry->($eve, 1), $entry->($ada, 1));
    $heard->();
    sql("update presence_nodes set seen_at = now() - interval '2 minutes' where node = '$one_node'; update chores set due_at = '-infinity' where name = 'presence'");
    my $left = $news->next(15);
    is "$left->{type} $left->{json}{data}{user_id}", "presence.leave $ada->{id}", 'with a hub that is dead they leave';
    is $heard->(), '', 'but for who is elsewhere';
    is $there->(), 'eve 1', 'who is there';

    my @many = map { { channel => $channel, user_id => sprintf('018f0000-0000-7000-8000-%012x', $_), connections => 1 } } 1 .. 3000;
    is $report->($one_node, 1, @many), 204, 'many';
    is scalar $news->rest(1), 3000, 'all have come';
    is $report->($one_node, 1, @many), 204, 'again';
    is scalar(my @none = $news->rest(0.5)), 0, 'nobody is new';
    my ($reply) = $hub->call(presence_list => { channel => $channel }, $ada);
    is scalar @{ $reply->{json}{users} }, 1000, 'a list has a thousand';
    is $report->($one_node, 1), 204, 'and nobody';
    is scalar $news->rest(1), 3000, 'all have left';
    is(($hub->call(presence_list => { channel => $channel }, $eve))[0]{status}, 404, 'others are not told');
    is(($hub->call(presence_report => { node => 'x', entries => [] }))[0]{status}, 422, 'nonsense is refused');
    is $report->($one_node, 0, { channel => 'later:x', user_id => $ada->{id}, connections => 1 }), 204, 'but for channels that a newer hub may know';
};

subtest 'websocket/send' => sub {
    sql("update users set is_superuser = true where id = '$root->{id}'");
    $hive->login($root);
    my $news = $hub->listen("user:$ada->{id}");
    my $send = sub { return $hive->post('/api/v1/websocket/send', $_[0], $_[1], $_[2]) };
    is $send->($ada, { user_id => $ada->{id}, type => 'a.b' })->code, 403, 'for administrators';
    my $res = $send->($root, { user_id => $ada->{id}, type => 'notice.shown', data => { text => "h\x{e9}" } });
    is $res->code, 202, 'accepted';
    my $record = $news->next(5);
    is_deeply [@$record{qw(kind channel type)}], ['signal', "user:$ada->{id}", 'notice.shown'], 'a signal to the user';
    is_deeply $record->{json}{data}, { text => "h\x{e9}" }, 'with its data';
    ok !exists $record->{json}{offset}, 'without a place';
    is $send->($root, { user_id => $ada->{id}, type => 'notice.shown' }, { 'Idempotency-Key' => 'send-1' })->code, 202, 'with a key';
    is $send->($root, { user_id => $ada->{id}, type => 'notice.shown' }, { 'Idempotency-Key' => 'send-1' })->code, 202, 'again';
    is scalar(my @heard = $news->rest(0.5)), 1, 'once';
    is $send->($root, { user_id => $ada->{id}, type => $_ })->code, 422, "no type: '$_'" for 'a', 'a.', '.a', 'A.b', 'task.x', 'presence.join', 'a..b', 'connection established', '';
    is $send->($root, { user_id => 'x', type => 'a.b' })->code, 422, 'nobody';
    is $send->($root, { user_id => $ada->{id}, type => 'a.b', colour => 'red' })->code, 422, 'nothing else';
};

subtest 'the epoch' => sub {
    my $new = sql('select outbox_renew()');
    is opened($ada, $name{project}, after => 8, epoch => $epoch), '10', 'a new one: what was before is not comparable';
    is opened($ada, $name{project}, after => 8, epoch => $new), '10 recovered | 9 project.updated | 10 project.updated', 'in it all is well';
};

$hive->stop;
done_testing;
