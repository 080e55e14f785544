local function show(v) if type(v) == 'string' and v:find('[^ -~]') then return (v:gsub('.', function(c) return ('%02x'):format(c:byte()) end)) end return tostring(v) end local function all(...) return {n = select('#', ...), ...} end
local ok, r = pcall(function() return all(EXPR) end) if not ok then r = {n = 2, ok, r} end
local o = {} for i = 1, r.n do o[#o + 1] = show(r[i]) end return table.concat(o, ' ')
