#!/usr/bin/perl
# A parent and its workers, over pipes: numbers go out, proofs of work come back, and a chain is made of them in order.
#
#   pipeline [ROUNDS] [WORKERS] [WORK]   default 200 rounds, 4 workers, 20000 hashes for each number
#
# A worker that lost a message, saw one twice, or continued with a wrong byte of memory breaks the chain. Prints each round, and at
# the end the chain's sha256, which depends on ROUNDS, WORKERS and WORK alone; it is in pipeline.sha256 as well. Every tenth
# round is computed again by the parent itself. Exit status 1 when a proof is wrong or a worker has gone.
use strict;
use warnings;
use Digest::SHA qw(sha256 sha256_hex);
use IO::Handle;

my ($rounds, $workers, $work) = (@ARGV, (200, 4, 20000)[@ARGV .. 2]);
$| = 1;

sub proof {
  my ($number, $times) = @_;
  my $digest = "$number";
  $digest = sha256($digest) for 1 .. $times;
  return unpack 'H*', $digest;
}

# A worker remembers all that it has done, so that its memory counts in every answer.
sub serve {
  my ($in, $out) = @_;
  my $memory = '';
  while (my $number = <$in>) {
    chomp $number;
    $memory = sha256_hex($memory . proof($number, $work));
    print $out "$number $memory\n";
  }
}

my @workers;

sub start {
  pipe my $in, my $to or die "pipe: $!";
  pipe my $from, my $out or die "pipe: $!";
  my $pid = fork // die "fork: $!";
  if ($pid == 0) {
    close $_ for $to, $from, map { ($_->{to}, $_->{from}) } @workers;
    $out->autoflush;
    serve($in, $out);
    exit 0;
  }
  close $in;
  close $out;
  $to->autoflush;
  return { pid => $pid, to => $to, from => $from };
}

# A worker must not hold the pipes of those before it, or they would not see the end.
push @workers, start() for 1 .. $workers;

my $chain = '';
for my $round (1 .. $rounds) {
  print { $workers[$_]{to} } $round * $workers + $_, "\n" for 0 .. $#workers;
  for my $at (0 .. $#workers) {
    my $worker = $workers[$at];
    my $from = $worker->{from};
    my $answer = <$from> // die "worker $at has gone in round $round\n";
    my ($number, $memory) = split ' ', $answer;
    $number == $round * $workers + $at or die "worker $at answered $number in round $round\n";
    if ($at == $round % $workers && $round % 10 == 0) {
      # What it should say, from the beginning: its whole memory is checked with it.
      my $expected = $worker->{checked} // '';
      $expected = sha256_hex($expected . proof($_ * $workers + $at, $work)) for ($worker->{until} // 0) + 1 .. $round;
      $memory eq $expected or die "worker $at is wrong in round $round\n";
      @$worker{qw(checked until)} = ($expected, $round);
    }
    $chain = sha256_hex("$chain$number$memory");
  }
  printf "round %d of %d %s\n", $round, $rounds, substr $chain, 0, 16;
}
for my $worker (@workers) {
  close $worker->{to};
  waitpid $worker->{pid}, 0;
  $? == 0 or die "a worker ended with $?\n";
}
open my $file, '>', 'pipeline.sha256' or die "pipeline.sha256: $!";
print $file "$chain\n";
close $file or die "pipeline.sha256: $!";
print "sha256 $chain\n";
