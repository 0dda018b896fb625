// Constants shared by the accelerator's modules and, through docs/accelerator.md, by the host driver.
package flame_pkg;

  // Every address of the host is a multiple of a line, whatever the width of the AXI ports; commands and each part of a
  // result record are one line. A module's parameter `AxiBytes` (16, 32 or 64) is the bytes of a beat, of a word of slot memory,
  // and with that the rows of the PE array: one beat feeds one weight to each row.
  localparam int unsigned LineBytes = 64;
  // Steps (columns of kept weights) that share one group of index words.
  localparam int unsigned GroupSteps = 8;

  // Commands, byte 0 of a 64-byte command record.
  localparam logic [7:0] OpEnd = 8'd0;
  localparam logic [7:0] OpLayer = 8'd1;
  localparam logic [7:0] OpClearSequence = 8'd2;
  localparam logic [7:0] OpCopySequence = 8'd3;
  localparam logic [7:0] OpDelay = 8'd4;
  localparam logic [7:0] OpLoadRouter = 8'd5;
  localparam logic [7:0] OpLoadTable = 8'd6;
  localparam logic [7:0] OpLoadKeep = 8'd7;
  localparam logic [7:0] OpFlush = 8'd8;
  localparam logic [7:0] OpPrefetch = 8'd9;

  // Flags of OpLayer, byte 1 of the record.
  localparam int unsigned FlagRoute = 0;    // run the router on the record's fixed-point part
  localparam int unsigned FlagForced = 1;   // take the command's expert, whatever the router says
  localparam int unsigned FlagLookup = 2;   // count hit, late or miss
  localparam int unsigned FlagObserve = 3;  // tell the predictor, and prefetch what it ranks for the next layer
  localparam int unsigned FlagCompute = 4;  // run the expert

  // How a lookup ended.
  localparam logic [1:0] ClassNone = 2'd0;
  localparam logic [1:0] ClassHit = 2'd1;
  localparam logic [1:0] ClassLate = 2'd2;
  localparam logic [1:0] ClassMiss = 2'd3;

  // Error codes of the control register file.
  localparam logic [7:0] ErrorNone = 8'd0;
  localparam logic [7:0] ErrorOpcode = 8'd1;
  localparam logic [7:0] ErrorLayer = 8'd2;
  localparam logic [7:0] ErrorExpert = 8'd3;
  localparam logic [7:0] ErrorShape = 8'd4;
  localparam logic [7:0] ErrorSlots = 8'd5;
  localparam logic [7:0] ErrorAxiRead = 8'd6;
  localparam logic [7:0] ErrorAxiWrite = 8'd7;
  localparam logic [7:0] ErrorSequence = 8'd8;
  localparam logic [7:0] ErrorPredictor = 8'd9;
  localparam logic [7:0] ErrorAddress = 8'd10;  // not a multiple of a line
  localparam logic [7:0] ErrorCount = 8'd11;    // more entries than a table has

  // Where a cycle went; the counters of all of these add up to the cycles between start and done.
  localparam int unsigned NumCycleKinds = 10;
  localparam logic [3:0] CycleCommand = 4'd0;   // fetching and decoding commands
  localparam logic [3:0] CycleInput = 4'd1;     // reading a token, router included
  localparam logic [3:0] CycleDecide = 4'd2;    // looking the expert up, choosing a victim
  localparam logic [3:0] CycleCompute = 4'd3;   // every PE has work
  localparam logic [3:0] CycleMemory = 4'd4;    // the array waits for weights still on their way
  localparam logic [3:0] CycleOverhead = 4'd5;  // row scales, turn from wi to wo, draining
  localparam logic [3:0] CycleOutput = 4'd6;    // writing results
  localparam logic [3:0] CycleDelay = 4'd7;     // modelled time of the dense layers
  localparam logic [3:0] CycleTables = 4'd8;    // loading router, predictor and keep tables
  localparam logic [3:0] CycleIdle = 4'd9;      // not started

endpackage
