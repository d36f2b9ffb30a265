package Hive::Test::Cluster;

# Cluster.pm: Postgres for tests. A cluster with role, database and
# migrations is made once for each state of sql/ and copied for every
# instance, which takes a tenth of a second.

use strict;
use warnings;
use Cwd qw(abs_path);
use Digest::MD5;
use Fcntl qw(:flock);
use File::Basename qw(dirname);
use File::Find ();

our $top = abs_path(dirname(__FILE__) . '/../../../..');
our $bin = '/usr/lib/postgresql/15/bin';

# Where tests put things: ./dev test gives a folder that it removes.
sub base {
    my $dir = $ENV{HIVE_TEST_DIR} // "/tmp/hive-test-of-$>";
    if (!-d $dir) {
        mkdir $dir, 0755 or $!{EEXIST} or die "$dir: $!\n";
    }
    my @stat = lstat $dir;
    die "$dir is not ours\n" unless -d _ && $stat[4] == $>;
    return $dir;
}

# What a template depends on, as a name.
sub fingerprint {
    my $md5 = Digest::MD5->new;
    my @files;
    File::Find::find({ no_chdir => 1, wanted => sub { push @files, $_ if -f } }, "$top/sql");
    for my $file (sort(grep { !m{/queries/} } @files), "$top/tools/dev/postgres.sh") {
        open my $fh, '<', $file or die "$file: $!\n";
        $md5->add($file)->addfile($fh);
    }
    return substr $md5->hexdigest, 0, 12;
}

# Returns the path of the template, made when there is none.
sub template {
    my $base = base();
    my $name = "$base/template-" . fingerprint();
    return $name if -d $name;
    open my $lock, '>', "$base/lock" or die "$base/lock: $!\n";
    flock $lock, LOCK_EX or die "flock: $!\n";
    return $name if -d $name;
    my $making = "$base/making";
    system('rm', '-rf', $making) if -e $making;
    mkdir $making, 0755 or die "$making: $!\n";
    my $log = `'$top/tools/dev/test-instance' template '$making' 2>&1`;
    die "cannot make a template cluster:\n$log" if $?;
    rename "$making/pg", $name or die "$name: $!\n";
    system('rm', '-rf', $making);
    return $name;
}

sub copy {
    my ($to) = @_;
    my $from = template();
    system('cp', '-a', '--reflink=auto', $from, $to) == 0 or die "cannot copy $from\n";
    return;
}

1;
