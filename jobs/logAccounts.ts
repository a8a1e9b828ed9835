/**
 * What all logs together have in Redis, counted there: locks and records must always have room, whatever jobs write.
 *
 *   {floe}:logs:bytes   sorted set: job → about how many bytes its log has, in all of its runs
 *   {floe}:logs:total   their sum
 *   {floe}:logs:ended   sorted set: job that has ended → when its log expires, ms
 *
 * Lua, to be put in front of a script: every change of a log and of its accounts is one step. A job that has more than its own share loses
 * its oldest entries. When all together have too much, the largest log loses its oldest entries, or all if its job has ended: nobody's
 * noise costs another's few lines.
 *
 * - `charge(id, bytes)` counts what was written.
 * - `trimLog(id, wanted)` removes the oldest entries of a job until so many bytes are free; returns how many are.
 * - `dropLog(id)` removes all of a job's log, `dropRunLog(id, epoch)` that of one run.
 * - `makeRoom(fleetBytes)` removes logs until all have at most so many bytes.
 * - `expireLog(id, keptMs)` lets a log expire.
 */
import { QUEUE_PREFIX, redisKeys } from './names.ts';

/** What an entry costs beside its bytes, about. */
export const LOG_ENTRY_COST_BYTES = 128;

/** More than what is in excess, so that a log that has its most is not trimmed at every write. */
export const TRIMMED_AT_ONCE_BYTES = 64 * 1024;

export const LOG_ACCOUNTS = `
local ACCOUNTS, TOTAL, ENDED = '${redisKeys.logBytes}', '${redisKeys.logTotal}', '${redisKeys.logEnded}'
local function recordOf(id) return '${QUEUE_PREFIX}:job:' .. id end
local function logOf(id, epoch) return recordOf(id) .. ':log:' .. epoch end
local function nowMs()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function costOf(entry) return #entry[2][6] + ${LOG_ENTRY_COST_BYTES} end
local function charge(id, bytes)
  redis.call('ZINCRBY', ACCOUNTS, bytes, id)
  redis.call('INCRBY', TOTAL, bytes)
end
local function forgetLog(id)
  local counted = redis.call('ZSCORE', ACCOUNTS, id)
  if counted then
    redis.call('DECRBY', TOTAL, string.format('%.0f', counted))
    redis.call('ZREM', ACCOUNTS, id)
  end
  redis.call('ZREM', ENDED, id)
end
local function epochsOf(id)
  local epochs = redis.call('HKEYS', recordOf(id) .. ':runs')
  table.sort(epochs, function(a, b) return tonumber(a) < tonumber(b) end)
  return epochs
end
local function dropLog(id)
  for _, epoch in ipairs(epochsOf(id)) do redis.call('UNLINK', logOf(id, epoch)) end
  forgetLog(id)
end
local function dropRunLog(id, epoch)
  local freed = 0
  for _, entry in ipairs(redis.call('XRANGE', logOf(id, epoch), '-', '+')) do freed = freed + costOf(entry) end
  redis.call('UNLINK', logOf(id, epoch))
  if freed > 0 and redis.call('ZSCORE', ACCOUNTS, id) then charge(id, -freed) end
end
local function trimLog(id, wanted)
  local freed = 0
  local from = tonumber(redis.call('HGET', recordOf(id), 'logFrom') or '0')
  for _, epoch in ipairs(epochsOf(id)) do
    while tonumber(epoch) >= from and freed < wanted do
      local oldest = redis.call('XRANGE', logOf(id, epoch), '-', '+', 'COUNT', 4)
      if #oldest == 0 then break end
      local gone = {}
      for _, entry in ipairs(oldest) do
        if freed < wanted then
          freed = freed + costOf(entry)
          gone[#gone + 1] = entry[1]
        end
      end
      redis.call('XDEL', logOf(id, epoch), unpack(gone))
    end
    if freed >= wanted then
      redis.call('HSET', recordOf(id), 'logFrom', epoch)
      break
    end
  end
  if freed > 0 then charge(id, -freed) end
  return freed
end
local function makeRoom(fleetBytes)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', ENDED, '-inf', nowMs(), 'LIMIT', 0, 100)) do forgetLog(id) end
  local excess = tonumber(redis.call('GET', TOTAL) or '0') - fleetBytes
  while excess > 0 do
    local largest = redis.call('ZREVRANGE', ACCOUNTS, 0, 0)[1]
    if not largest then redis.call('DEL', TOTAL)
    elseif redis.call('ZSCORE', ENDED, largest) then dropLog(largest)
    elseif trimLog(largest, excess + ${TRIMMED_AT_ONCE_BYTES}) == 0 then dropLog(largest) end
    excess = tonumber(redis.call('GET', TOTAL) or '0') - fleetBytes
  end
end
local function expireLog(id, keptMs)
  for _, epoch in ipairs(epochsOf(id)) do redis.call('PEXPIRE', logOf(id, epoch), keptMs) end
  if redis.call('ZSCORE', ACCOUNTS, id) then redis.call('ZADD', ENDED, nowMs() + keptMs, id) end
end`;
